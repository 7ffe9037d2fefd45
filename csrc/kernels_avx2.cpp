// AVX2 + FMA + F16C. Compiled with those flags for this file only; called only where the CPU has them.
#include "kernels.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>

namespace adtrie {
namespace {

using vf = __m256;
constexpr int W = 8;
inline vf vset(float x) { return _mm256_set1_ps(x); }
inline vf vload(const float* p) { return _mm256_loadu_ps(p); }
inline void vstore(float* p, vf v) { _mm256_storeu_ps(p, v); }
inline vf vadd(vf a, vf b) { return _mm256_add_ps(a, b); }
inline vf vsub(vf a, vf b) { return _mm256_sub_ps(a, b); }
inline vf vmul(vf a, vf b) { return _mm256_mul_ps(a, b); }
inline vf vdiv(vf a, vf b) { return _mm256_div_ps(a, b); }
inline vf vmax(vf a, vf b) { return _mm256_max_ps(a, b); }
inline vf vmin(vf a, vf b) { return _mm256_min_ps(a, b); }
inline vf vfma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
inline vf vround(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vf vscale2(vf a, vf n) {  // n in [-126, 127]
  const __m256i bias = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(bias, 23)));
}
inline vf vhalf(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline vf vcode(const uint8_t* p, int j, int nibble, int zero) {
  const __m256i word = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i code = _mm256_and_si256(_mm256_srli_epi32(word, 8 * j + (nibble == 1 ? 4 : 0)),
                                        _mm256_set1_epi32(nibble < 0 ? 255 : 15));
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(code, _mm256_set1_epi32(zero)));
}

}  // namespace
}  // namespace adtrie

#include "kernels_float.h"

namespace adtrie {
namespace {

inline __m256i broadcast4(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
}

// Sum of one block of 32 for 8 outputs of a panel half. maddubs adds two products in 16 bits:
// Q4: 15*127*2*8 chunks = 30,480 fits, so the block is summed in 16 bits.
// Q8: a full byte would overflow, so |code - 128| times sign-matched activations: 128*127*2 = 32,512 fits once.
template <bool Q4>
inline __m256i block_dot(const uint8_t* codes, const int8_t* x) {
  const __m256i ones = _mm256_set1_epi16(1);
  if (Q4) {
    const __m256i mask = _mm256_set1_epi8(15);
    __m256i acc = _mm256_setzero_si256();
    for (int c = 0; c < 4; ++c) {
      const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + c * 64));
      const __m256i low = _mm256_and_si256(w, mask), high = _mm256_and_si256(_mm256_srli_epi16(w, 4), mask);
      acc = _mm256_add_epi16(acc, _mm256_maddubs_epi16(low, broadcast4(x + c * 8)));
      acc = _mm256_add_epi16(acc, _mm256_maddubs_epi16(high, broadcast4(x + c * 8 + 4)));
    }
    return _mm256_madd_epi16(acc, ones);
  }
  __m256i acc = _mm256_setzero_si256();
  for (int c = 0; c < 8; ++c) {
    const __m256i w = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes + c * 64)),
                                       _mm256_set1_epi8(static_cast<char>(0x80)));
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(broadcast4(x + c * 4), w));
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, ones));
  }
  return acc;
}

template <bool Q4, bool MINS, int R>
void tile_q_i8(const Panels& w, int panel, int half, const Int8Rows& x, int row, float* y, int64_t ys, bool add) {
  const int blocks = w.num_inputs / kBlock, per_group = w.group / kBlock, groups = w.num_inputs / w.group;
  constexpr int kBlockBytes = Q4 ? 256 : 512;
  const uint8_t* codes = static_cast<const uint8_t*>(w.data) +
                         static_cast<int64_t>(panel) * blocks * kBlockBytes + half * 32;
  const int offset = Q4 ? (MINS ? 0 : w.zero) : (MINS ? -128 : w.zero - 128);  // Q8 codes are recentred above
  __m256 total[R];
  for (int r = 0; r < R; ++r) total[r] = _mm256_setzero_ps();
  for (int b = 0; b < blocks; ++b, codes += kBlockBytes) {
    const int64_t at = (static_cast<int64_t>(panel) * groups + b / per_group) * kPanel + half * 8;
    const __m256 scale = vhalf(w.scales + at);
    for (int r = 0; r < R; ++r) {
      const int64_t cell = static_cast<int64_t>(row + r) * blocks + b;
      const __m256i dot = _mm256_sub_epi32(block_dot<Q4>(codes, x.codes + (row + r) * x.stride + b * kBlock),
                                           _mm256_set1_epi32(offset * x.sums[cell]));
      total[r] = vfma(_mm256_cvtepi32_ps(dot), vmul(scale, vset(x.scales[cell])), total[r]);
      if (MINS) total[r] = vfma(vhalf(w.mins + at), vset(x.scales[cell] * static_cast<float>(x.sums[cell])), total[r]);
    }
  }
  for (int r = 0; r < R; ++r) {
    float* out = y + (row + r) * ys + panel * kPanel + half * 8;
    vstore(out, add ? vadd(vload(out), total[r]) : total[r]);
  }
}

template <bool Q4, bool MINS>
void panels_q_i8(const Panels& w, int begin, int end, const Int8Rows& x, int rows, float* y, int64_t ys, bool add) {
  for (int p = begin; p < end; ++p)
    for (int half = 0; half < 2; ++half) {
      int r = 0;
      for (; r + 4 <= rows; r += 4) tile_q_i8<Q4, MINS, 4>(w, p, half, x, r, y, ys, add);
      for (; r < rows; ++r) tile_q_i8<Q4, MINS, 1>(w, p, half, x, r, y, ys, add);
    }
}

void gemm_q_i8(const Panels& w, int begin, int end, const Int8Rows& x, int rows, float* y, int64_t ys, bool add) {
  const bool q4 = w.format == Format::kQ4;
  auto run = q4 ? (w.mins ? panels_q_i8<true, true> : panels_q_i8<true, false>)
                : (w.mins ? panels_q_i8<false, true> : panels_q_i8<false, false>);
  run(w, begin, end, x, rows, y, ys, add);
}

void quantize_row(const float* x, int n, int8_t* codes, float* scales, int32_t* sums) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  for (int b = 0; b < n / kBlock; ++b) {
    __m256 top = _mm256_setzero_ps();
    for (int i = 0; i < 4; ++i) top = vmax(top, _mm256_andnot_ps(sign, vload(x + b * kBlock + i * 8)));
    float lanes[8];
    vstore(lanes, top);
    float peak = lanes[0];
    for (int i = 1; i < 8; ++i) peak = lanes[i] > peak ? lanes[i] : peak;
    const vf inverse = vset(peak > 0.0f ? 127.0f / peak : 0.0f);
    __m256i sum = _mm256_setzero_si256();
    for (int i = 0; i < 4; ++i) {
      const __m256i q = _mm256_cvtps_epi32(vround(vmul(vload(x + b * kBlock + i * 8), inverse)));
      sum = _mm256_add_epi32(sum, q);
      const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(codes + b * kBlock + i * 8), _mm_packs_epi16(words, words));
    }
    int32_t parts[8];
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(parts), sum);
    scales[b] = peak / 127.0f;
    sums[b] = parts[0] + parts[1] + parts[2] + parts[3] + parts[4] + parts[5] + parts[6] + parts[7];
  }
}

uint64_t read_bytes(const void* data, size_t len) {
  const __m256i* v = static_cast<const __m256i*>(data);
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  for (size_t i = 0; i + 4 <= len / 32; i += 4) {
    a = _mm256_xor_si256(a, _mm256_loadu_si256(v + i));
    b = _mm256_xor_si256(b, _mm256_loadu_si256(v + i + 1));
    c = _mm256_xor_si256(c, _mm256_loadu_si256(v + i + 2));
    d = _mm256_xor_si256(d, _mm256_loadu_si256(v + i + 3));
  }
  a = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
  return static_cast<uint64_t>(_mm256_extract_epi64(a, 0) ^ _mm256_extract_epi64(a, 3));
}

}  // namespace

const KernelTable* avx2_kernels() {
  static const KernelTable table = {"avx2",   gemm_f32, gemm_q_f32, gemm_q_i8,   quantize_row,
                                    rms_norm, swiglu,   attend,     log_sum_exp, read_bytes};
  return &table;
}

}  // namespace adtrie
#else
namespace adtrie {
const KernelTable* avx2_kernels() { return nullptr; }
}  // namespace adtrie
#endif
