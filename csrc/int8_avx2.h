// Quantized weights times 8-bit activations in 256 bits: half a panel, 8 outputs, at a time. vpmaddubsw adds two
// products of unsigned and signed bytes in 16 bits; what fits there is summed there over a block of 32 inputs.
#include "gather.h"

namespace adtrie {
namespace {

inline __m256i load32(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256i broadcast4(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
}
inline __m256i broadcast16(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// Sums of one dense block for R rows and H halves of the panel.
// Q4: 15*127*2*8 chunks = 30,480 fits, so the block is summed in 16 bits.
// Q8: a full byte would overflow, so |code - 128| times sign-matched activations: 128*127*2 = 32,512 fits once.
template <bool Q4, int R, int H>
ADTRIE_INLINE inline void dense_block(TileRows x, int offset, const uint8_t* codes, int block, __m256i ones,
                                      __m256i sums[R][H]) {
  const __m256i mask = _mm256_set1_epi8(15);
  for (int r = 0; r < R; ++r) {
    const int8_t* four = x.codes + r * x.stride + block * kBlock;
    for (int h = 0; h < H; ++h) sums[r][h] = _mm256_setzero_si256();
    if (Q4) {
      for (int k = 0; k < 4; ++k) {
        const __m256i first = broadcast4(four + k * 8), second = broadcast4(four + k * 8 + 4);
        for (int h = 0; h < H; ++h) {
          const __m256i w = load32(codes + k * 64 + h * 32);
          const __m256i low = _mm256_and_si256(w, mask), high = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
          sums[r][h] = _mm256_add_epi16(sums[r][h], _mm256_maddubs_epi16(low, first));
          sums[r][h] = _mm256_add_epi16(sums[r][h], _mm256_maddubs_epi16(high, second));
        }
      }
      for (int h = 0; h < H; ++h) sums[r][h] = _mm256_madd_epi16(sums[r][h], ones);
    } else {
      for (int k = 0; k < 8; ++k)
        for (int h = 0; h < H; ++h) {
          const __m256i w =
              _mm256_xor_si256(load32(codes + k * 64 + h * 32), _mm256_set1_epi8(static_cast<char>(0x80)));
          const __m256i signs = _mm256_sign_epi8(broadcast4(four + k * 4), w);
          const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), signs);
          sums[r][h] = _mm256_add_epi32(sums[r][h], _mm256_madd_epi16(pairs, ones));
        }
    }
    const __m256i off = _mm256_set1_epi32(offset * x.sums[r * x.blocks + block]);
    for (int h = 0; h < H; ++h) sums[r][h] = _mm256_sub_epi32(sums[r][h], off);
  }
}

// Half a sparse unit in registers: shuffle indices and code - 8 of its four steps.
struct Unit {
  __m256i index[4], weight[4];
};

template <int KEPT>
ADTRIE_INLINE inline Unit decode_unit(const uint8_t* codes) {
  const __m256i first = _mm256_set1_epi8(3), second = _mm256_set1_epi8(12), nibble = _mm256_set1_epi8(15);
  const __m256i base = _mm256_set1_epi32(KEPT == 2 ? 0x04040000 : 0x0c080400), zero = _mm256_set1_epi8(8);
  const __m256i turned = _mm256_set1_epi32(KEPT == 2 ? 0x03030202 : 0x03020100);
  const __m256i x = load32(codes), y = load32(codes + 64), z = load32(codes + 128);
  const auto high = [&](__m256i v) { return _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble); };
  Unit u;
  u.index[0] = _mm256_or_si256(_mm256_and_si256(x, first), base);
  u.index[1] = _mm256_or_si256(_mm256_and_si256(x, second), turned);
  u.index[2] = _mm256_or_si256(_mm256_and_si256(y, first), base);
  u.index[3] = _mm256_or_si256(_mm256_and_si256(y, second), turned);
  u.weight[0] = _mm256_sub_epi8(high(x), zero);
  u.weight[1] = _mm256_sub_epi8(high(z), zero);
  u.weight[2] = _mm256_sub_epi8(high(y), zero);
  u.weight[3] = _mm256_sub_epi8(_mm256_and_si256(z, nibble), zero);
  return u;
}

// Sums of the block made by steps [FIRST, FIRST + COUNT). Gathered bytes are x + 128: 255*8*2*4 = 16,320 fits;
// the weights of four steps add up in bytes, and 128 times their pairs is taken off all rows.
template <int KEPT, int FIRST, int COUNT, int R, int H>
ADTRIE_INLINE inline void sparse_block(TileRows x, const Unit* units, int64_t input, __m256i ones,
                                       __m256i sums[R][H]) {
  __m256i offset[H];
  for (int h = 0; h < H; ++h) {
    __m256i weights = units[h].weight[FIRST];
    for (int s = FIRST + 1; s < FIRST + COUNT; ++s) weights = _mm256_add_epi8(weights, units[h].weight[s]);
    offset[h] = _mm256_maddubs_epi16(_mm256_set1_epi8(static_cast<char>(128)), weights);
  }
  for (int r = 0; r < R; ++r) {
    const uint8_t* gather = x.gather + 2 * r * x.stride + input;
    for (int s = FIRST; s < FIRST + COUNT; ++s) {
      const __m256i table = broadcast16(gather + sixteen_of<KEPT>(s) * 16 + s % 2 * x.stride);
      for (int h = 0; h < H; ++h) {
        const __m256i picked = _mm256_shuffle_epi8(table, units[h].index[s]);
        const __m256i pairs = _mm256_maddubs_epi16(picked, units[h].weight[s]);
        sums[r][h] = s == FIRST ? _mm256_sub_epi16(pairs, offset[h]) : _mm256_add_epi16(sums[r][h], pairs);
      }
    }
    for (int h = 0; h < H; ++h) sums[r][h] = _mm256_madd_epi16(sums[r][h], ones);
  }
}

// H halves of a panel from `half` on. Meanwhile the panel `ahead` bytes further on is fetched.
template <Format FORM, bool MINS, int R, int H>
void tile_i8(const Call& c, const Stripe& stripe, int half, int row, int64_t ahead) {
  constexpr bool kDense = FORM == Format::kQ4 || FORM == Format::kQ8;
  constexpr int kLines = FORM == Format::kQ8 ? 8 : kDense ? 4 : 3, kWide = FORM == Format::kS14 ? 2 : 1;
  const int blocks = c.w.num_inputs / kBlock, per_group = c.w.group / kBlock;
  const TileRows x = rows_from(c.x, row, blocks);
  // INT8 codes are recentred by 128 for the product.
  const int offset = (MINS ? 0 : c.w.zero) - (FORM == Format::kQ8 ? 128 : 0);
  const uint8_t* codes = stripe.codes + half * 32;
  const uint16_t* scales = stripe.scales + half * 8;
  const uint16_t* mins = MINS ? stripe.mins + half * 8 : nullptr;
  __m256i ones = _mm256_set1_epi16(1);
  asm("" : "+x"(ones));  // or it is made anew in every block
  __m256 total[R][H], part[R][H];
  float weight[R];  // of the minima
  for (int r = 0; r < R; ++r) {
    for (int h = 0; h < H; ++h) total[r][h] = part[r][h] = vset(0.0f);
    weight[r] = 0.0f;
  }
  int in_group = 0;
  const int scales_ahead = blocks / per_group * kPanel;  // to those of the next panel, a stream of their own
  const auto close_block = [&](int block, const __m256i sums[R][H]) ADTRIE_INLINE {
    for (int r = 0; r < R; ++r) {
      const int64_t cell = r * x.blocks + block;
      for (int h = 0; h < H; ++h)
        part[r][h] = vfma(_mm256_cvtepi32_ps(sums[r][h]), vset(x.scales[cell]), part[r][h]);
      if (MINS) weight[r] = std::fma(static_cast<float>(x.sums[cell]), x.scales[cell], weight[r]);
    }
    if (++in_group < per_group) return;
    fetch(scales + scales_ahead, _MM_HINT_T0);
    if (MINS) fetch(mins + scales_ahead, _MM_HINT_T0);
    for (int r = 0; r < R; ++r)
      for (int h = 0; h < H; ++h) {
        total[r][h] = vfma(part[r][h], vhalf(scales + h * 8), total[r][h]);
        if (MINS) total[r][h] = vfma(vhalf(mins + h * 8), vset(weight[r]), total[r][h]);
        part[r][h] = vset(0.0f);
      }
    for (int r = 0; MINS && r < R; ++r) weight[r] = 0.0f;
    in_group = 0, scales += kPanel;
    if (MINS) mins += kPanel;
  };
  for (int b = 0; b < blocks; b += kWide, codes += kLines * 64) {
    for (int i = 0; i < kLines; ++i) fetch(codes + ahead + i * 64, _MM_HINT_T1);
    __m256i sums[R][H];
    if constexpr (kDense) {
      dense_block<FORM == Format::kQ4, R, H>(x, offset, codes, b, ones, sums);
      close_block(b, sums);
    } else {
      constexpr int kKept = FORM == Format::kS24 ? 2 : 1;
      Unit units[H];
      for (int h = 0; h < H; ++h) units[h] = decode_unit<kKept>(codes + h * 32);
      sparse_block<kKept, 0, 4 / kWide, R, H>(x, units, b * kBlock, ones, sums);
      close_block(b, sums);
      if constexpr (kWide == 2)
        if (b + 1 < blocks) {
          sparse_block<kKept, 2, 2, R, H>(x, units, b * kBlock, ones, sums);
          close_block(b + 1, sums);
        }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int h = 0; h < H; ++h) {
      float* out = c.y + (row + r) * c.ys + stripe.column + (half + h) * 8;
      vstore(out, c.add ? vadd(vload(out), total[r][h]) : total[r][h]);
    }
}

// Four rows over half a panel, then single rows over whole ones.
template <Format FORM, bool MINS>
void panels_i8(const Call& c, const Stripe* stripes, int count, int rows) {
  for (int i = 0; i < count; ++i) {
    const int64_t ahead = i + 1 < count ? stripes[i + 1].codes - stripes[i].codes : 0;
    int r = 0;
    for (; r + 4 <= rows; r += 4)
      for (int half = 0; half < 2; ++half) tile_i8<FORM, MINS, 4, 1>(c, stripes[i], half, r, ahead);
    for (; r < rows; ++r) tile_i8<FORM, MINS, 1, 2>(c, stripes[i], 0, r, ahead);
  }
}

void gemm_q_i8(const Panels& w, int begin, int end, const Int8Rows& x, int rows, float* y, int64_t ys, bool add,
               const GemmPlan& plan, Reading) {
  const Call call = {w, x, y, ys, add, plan};
  for_each_form(w, begin, end, {}, [&](const Series& series) {
    const auto& [form, stripes, count, next] = series;
    auto run = form == Format::kS24   ? panels_i8<Format::kS24, false>
               : form == Format::kS14 ? panels_i8<Format::kS14, false>
               : form == Format::kQ4  ? (w.mins ? panels_i8<Format::kQ4, true> : panels_i8<Format::kQ4, false>)
                                      : (w.mins ? panels_i8<Format::kQ8, true> : panels_i8<Format::kQ8, false>);
    run(call, stripes, count, rows);
  });
}

}  // namespace
}  // namespace adtrie
