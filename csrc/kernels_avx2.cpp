// AVX2 + FMA + F16C. Compiled with those flags for this file only; called only where the CPU has them.
#include "kernels.h"
#include "turn.h"

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
inline vf vquotient(vf a, vf b) { return _mm256_div_ps(a, b); }
inline vf vmax(vf a, vf b) { return _mm256_max_ps(a, b); }
inline vf vmin(vf a, vf b) { return _mm256_min_ps(a, b); }
inline vf vfma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
template <typename Join>
inline float across(vf a, const Join& join) {
  __m128 x = join(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = join(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(join(x, _mm_movehdup_ps(x)));
}
// Of all lanes, the upper half joined to the lower at each step.
inline float vsum(vf a) { return across(a, [](__m128 x, __m128 y) { return _mm_add_ps(x, y); }); }
inline float vtop(vf a) { return across(a, [](__m128 x, __m128 y) { return _mm_max_ps(x, y); }); }
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
using vi = __m256i;
inline vi vlanes(const int32_t* lanes) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes)); }
inline vf vpick(const float* p, vi lanes) {  // a permutation takes the lowest three bits, a blend the sign
  const __m256 low = _mm256_permutevar8x32_ps(vload(p), lanes), high = _mm256_permutevar8x32_ps(vload(p + 8), lanes);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(lanes, 28)));
}
inline vf vbf16(const uint8_t* p, int odd) {
  const __m256i pair = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm256_castsi256_ps(odd ? _mm256_and_si256(pair, _mm256_set1_epi32(static_cast<int>(0xffff0000)))
                                 : _mm256_slli_epi32(pair, 16));
}

}  // namespace
}  // namespace adtrie

#include "kernels_float.h"
#include "bf16_as_floats.h"
#include "attention.h"
#include "int8_avx2.h"

namespace adtrie {
namespace {

void quantize_row(const float* x, int n, int8_t* codes, float* scales, int32_t* sums) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  for (int b = 0; b < n / kBlock; ++b) {
    __m256 top = _mm256_setzero_ps();
    for (int i = 0; i < 4; ++i) top = vmax(top, _mm256_andnot_ps(sign, vload(x + b * kBlock + i * 8)));
    const float peak = vtop(top);
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

uint64_t multiply_bytes(int64_t rounds) {
  __m256i sums[12];
  for (int i = 0; i < 12; ++i) sums[i] = _mm256_set1_epi16(static_cast<short>(i));
  __m256i codes = _mm256_set1_epi8(3);
  const __m256i x = _mm256_set1_epi8(5);
  for (int64_t r = 0; r < rounds; ++r)
    for (int half = 0; half < 2; ++half) {
      asm("" : "+x"(codes));
      _Pragma("GCC unroll 12") for (int i = 0; i < 12; ++i)
        sums[i] = _mm256_add_epi16(sums[i], _mm256_maddubs_epi16(codes, x));
    }
  for (int i = 1; i < 12; ++i) sums[0] = _mm256_xor_si256(sums[0], sums[i]);
  return static_cast<uint64_t>(_mm256_extract_epi64(sums[0], 0));
}

}  // namespace

const KernelTable* avx2_kernels() {
  static const KernelTable table = {"avx2",   gemm_f32, gemm_q_f32, gemm_q_i8, gemm_bf16,   round_row,  4,
                                    gather_row, quantize_row, rms_norm,   rotate,    swiglu,      attend,
                                    log_sum_exp, read_bytes, multiply_bytes};
  return &table;
}

}  // namespace adtrie
#else
namespace adtrie {
const KernelTable* avx2_kernels() { return nullptr; }
}  // namespace adtrie
#endif
