// Quantized weights times 8-bit activations in 256 bits: half a panel, 8 outputs, at a time. vpmaddubsw adds two
// products of unsigned and signed bytes in 16 bits; what fits there is summed there over a block of 32 inputs.
#include "kernels.h"

namespace adtrie {
namespace {

struct Call {
  const Panels& w;
  const Int8Rows& x;
  float* y;
  int64_t ys;
  bool add;
};

inline __m256i load32(const uint8_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256i broadcast4(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
}
inline __m256i broadcast16(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// Sums of one dense block for R rows.
// Q4: 15*127*2*8 chunks = 30,480 fits, so the block is summed in 16 bits.
// Q8: a full byte would overflow, so |code - 128| times sign-matched activations: 128*127*2 = 32,512 fits once.
template <bool Q4, bool MINS, int R>
inline void dense_block(const Call& c, const uint8_t* codes, int row, int block, __m256i sums[R]) {
  const __m256i ones = _mm256_set1_epi16(1), mask = _mm256_set1_epi8(15);
  const int offset = Q4 ? (MINS ? 0 : c.w.zero) : (MINS ? -128 : c.w.zero - 128);  // Q8 codes are recentred below
  for (int r = 0; r < R; ++r) {
    const int8_t* x = c.x.codes + (row + r) * c.x.stride + block * kBlock;
    __m256i acc = _mm256_setzero_si256();
    if (Q4) {
      for (int k = 0; k < 4; ++k) {
        const __m256i w = load32(codes + k * 64);
        const __m256i low = _mm256_and_si256(w, mask), high = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
        acc = _mm256_add_epi16(acc, _mm256_maddubs_epi16(low, broadcast4(x + k * 8)));
        acc = _mm256_add_epi16(acc, _mm256_maddubs_epi16(high, broadcast4(x + k * 8 + 4)));
      }
      acc = _mm256_madd_epi16(acc, ones);
    } else {
      for (int k = 0; k < 8; ++k) {
        const __m256i w = _mm256_xor_si256(load32(codes + k * 64), _mm256_set1_epi8(static_cast<char>(0x80)));
        const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(broadcast4(x + k * 4), w));
        acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, ones));
      }
    }
    const int64_t cell = static_cast<int64_t>(row + r) * (c.w.num_inputs / kBlock) + block;
    sums[r] = _mm256_sub_epi32(acc, _mm256_set1_epi32(offset * c.x.sums[cell]));
  }
}

// Half a sparse unit in registers: shuffle indices and code - 8 of its four steps.
struct Unit {
  __m256i index[4], weight[4];
};

template <int KEPT>
inline Unit decode_unit(const uint8_t* codes) {
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

// Where step `step` of a unit gathers from, as in the 512-bit kernels.
template <int KEPT>
constexpr int table_of(int step) {
  return (KEPT == 2 ? step / 2 : step) * 32 + step % 2 * 16;
}

// Sums of the block made by steps [FIRST, FIRST + COUNT). Gathered bytes are x + 128: 255*8*2*4 = 16,320 fits;
// the weights of four steps add up in bytes, and 128 times their pairs is taken off all rows.
template <int KEPT, int FIRST, int COUNT, int R>
inline void sparse_block(const Call& c, const Unit& u, int row, int64_t tables, __m256i sums[R]) {
  __m256i weights = u.weight[FIRST];
  for (int s = FIRST + 1; s < FIRST + COUNT; ++s) weights = _mm256_add_epi8(weights, u.weight[s]);
  const __m256i offset = _mm256_maddubs_epi16(_mm256_set1_epi8(static_cast<char>(128)), weights);
  for (int r = 0; r < R; ++r) {
    const uint8_t* gather = c.x.gather + 2 * (row + r) * c.x.stride + tables;
    __m256i acc = _mm256_sub_epi16(_mm256_setzero_si256(), offset);
    for (int s = FIRST; s < FIRST + COUNT; ++s) {
      const __m256i x = _mm256_shuffle_epi8(broadcast16(gather + table_of<KEPT>(s)), u.index[s]);
      acc = _mm256_add_epi16(acc, _mm256_maddubs_epi16(x, u.weight[s]));
    }
    sums[r] = _mm256_madd_epi16(acc, _mm256_set1_epi16(1));
  }
}

// Meanwhile the panel `ahead` bytes further on is fetched, each half of this one fetching half of it.
template <Format FORM, bool MINS, int R>
void tile_i8(const Call& c, const Stripe& stripe, int half, int row, int64_t ahead) {
  constexpr bool kDense = FORM == Format::kQ4 || FORM == Format::kQ8;
  constexpr int kLines = FORM == Format::kQ8 ? 8 : kDense ? 4 : 3, kWide = FORM == Format::kS14 ? 2 : 1;
  const int blocks = c.w.num_inputs / kBlock, per_group = c.w.group / kBlock;
  const uint8_t* codes = stripe.codes + half * 32;
  __m256 total[R], part[R];
  float weight[R];  // of the minima
  for (int r = 0; r < R; ++r) total[r] = part[r] = vset(0.0f), weight[r] = 0.0f;
  int in_group = 0, group = 0;
  const auto close_block = [&](int block, const __m256i sums[R]) {
    for (int r = 0; r < R; ++r) {
      const int64_t cell = static_cast<int64_t>(row + r) * blocks + block;
      part[r] = vfma(_mm256_cvtepi32_ps(sums[r]), vset(c.x.scales[cell]), part[r]);
      if (MINS) weight[r] = std::fma(static_cast<float>(c.x.sums[cell]), c.x.scales[cell], weight[r]);
    }
    if (++in_group < per_group) return;
    const int at = group * kPanel + half * 8;
    for (int r = 0; r < R; ++r) {
      total[r] = vfma(part[r], vhalf(stripe.scales + at), total[r]);
      if (MINS) total[r] = vfma(vhalf(stripe.mins + at), vset(weight[r]), total[r]);
      part[r] = vset(0.0f), weight[r] = 0.0f;
    }
    in_group = 0, ++group;
  };
  for (int b = 0; b < blocks; b += kWide, codes += kLines * 64) {
    for (int i = half * 128; i < kLines * 64; i += 256)
      _mm_prefetch(reinterpret_cast<const char*>(codes + ahead + i), _MM_HINT_T1);
    __m256i sums[R];
    if constexpr (kDense) {
      dense_block<FORM == Format::kQ4, MINS, R>(c, codes, row, b, sums);
      close_block(b, sums);
    } else {
      constexpr int kKept = FORM == Format::kS24 ? 2 : 1;
      const Unit unit = decode_unit<kKept>(codes);
      sparse_block<kKept, 0, 4 / kWide, R>(c, unit, row, b * 64, sums);
      close_block(b, sums);
      if constexpr (kWide == 2)
        if (b + 1 < blocks) {
          sparse_block<kKept, 2, 2, R>(c, unit, row, b * 64, sums);
          close_block(b + 1, sums);
        }
    }
  }
  for (int r = 0; r < R; ++r) {
    float* out = c.y + (row + r) * c.ys + stripe.column + half * 8;
    vstore(out, c.add ? vadd(vload(out), total[r]) : total[r]);
  }
}

template <Format FORM, bool MINS>
void panels_i8(const Call& c, const Stripe* stripes, int count, int rows) {
  for (int i = 0; i < count; ++i) {
    const int64_t ahead = i + 1 < count ? stripes[i + 1].codes - stripes[i].codes : 0;
    for (int half = 0; half < 2; ++half) {
      int r = 0;
      for (; r + 4 <= rows; r += 4) tile_i8<FORM, MINS, 4>(c, stripes[i], half, r, ahead);
      for (; r < rows; ++r) tile_i8<FORM, MINS, 1>(c, stripes[i], half, r, ahead);
    }
  }
}

void gemm_q_i8(const Panels& w, int begin, int end, const Int8Rows& x, int rows, float* y, int64_t ys, bool add) {
  const Call call = {w, x, y, ys, add};
  for_each_form(w, begin, end, [&](Format form, const Stripe* stripes, int count) {
    auto run = form == Format::kS24   ? panels_i8<Format::kS24, false>
               : form == Format::kS14 ? panels_i8<Format::kS14, false>
               : form == Format::kQ4  ? (w.mins ? panels_i8<Format::kQ4, true> : panels_i8<Format::kQ4, false>)
                                      : (w.mins ? panels_i8<Format::kQ8, true> : panels_i8<Format::kQ8, false>);
    run(call, stripes, count, rows);
  });
}

void gather_row(const int8_t* codes, int n, uint8_t* gather) {
  const __m128i half = _mm_set1_epi8(static_cast<char>(128));
  const __m128i turn = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int k = 0; k < n; k += 16, gather += 32) {
    const __m128i x = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + k)), half);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(gather), x);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(gather + 16), _mm_shuffle_epi8(x, turn));
  }
}

}  // namespace
}  // namespace adtrie
