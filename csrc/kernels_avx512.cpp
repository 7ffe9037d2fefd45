// AVX-512 F/BW/VL/DQ + VNNI. Compiled with those flags for this file only; called only where the CPU has them.
#include "kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
#include "vectors_avx512.h"
#include "kernels_float.h"
#include "bf16_as_floats.h"
#include "attention.h"
#include "int8_many_avx512.h"

namespace adtrie {
namespace {

inline __m128 upper_half(__m256 x) { return _mm256_extractf128_ps(x, 1); }
inline __m128i upper_half(__m256i x) { return _mm256_extracti128_si256(x, 1); }

// Four sums (or maxima) of what is left of four blocks, one in each lane.
template <typename Join>
inline __m128 across(const __m128 x[4], const Join& join) {
  const __m128 first = join(_mm_unpacklo_ps(x[0], x[1]), _mm_unpackhi_ps(x[0], x[1]));
  const __m128 second = join(_mm_unpacklo_ps(x[2], x[3]), _mm_unpackhi_ps(x[2], x[3]));
  return join(_mm_movelh_ps(first, second), _mm_movehl_ps(second, first));
}

// N blocks of a row, N <= 4: their maxima and sums are found in common.
template <int N>
inline void quantize_blocks(const float* x, int8_t* codes, float* scales, int32_t* sums) {
  const auto larger = [](__m128 a, __m128 b) { return _mm_max_ps(a, b); };
  const auto sum = [](__m128 a, __m128 b) {
    return _mm_castsi128_ps(_mm_add_epi32(_mm_castps_si128(a), _mm_castps_si128(b)));
  };
  __m128 part[4] = {_mm_setzero_ps(), _mm_setzero_ps(), _mm_setzero_ps(), _mm_setzero_ps()};
  for (int b = 0; b < N; ++b) {
    const vf top = vmax(_mm512_abs_ps(vload(x + b * kBlock)), _mm512_abs_ps(vload(x + b * kBlock + 16)));
    const __m256 half = _mm256_max_ps(_mm512_castps512_ps256(top), _mm512_extractf32x8_ps(top, 1));
    part[b] = _mm_max_ps(_mm256_castps256_ps128(half), upper_half(half));
  }
  const __m128 peaks = across(part, larger), most = _mm_set1_ps(127.0f);
  const __mmask8 some = _mm_cmp_ps_mask(peaks, _mm_setzero_ps(), _CMP_GT_OQ);
  alignas(16) float inverse[4], scale[4];
  _mm_store_ps(inverse, _mm_maskz_div_ps(some, most, peaks));
  _mm_store_ps(scale, _mm_div_ps(peaks, most));
  for (int b = 0; b < N; ++b) {
    const __m512i q0 = _mm512_cvtps_epi32(vmul(vload(x + b * kBlock), vset(inverse[b])));  // to nearest, ties to even
    const __m512i q1 = _mm512_cvtps_epi32(vmul(vload(x + b * kBlock + 16), vset(inverse[b])));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + b * kBlock), _mm512_cvtepi32_epi8(q0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + b * kBlock + 16), _mm512_cvtepi32_epi8(q1));
    const __m512i both = _mm512_add_epi32(q0, q1);
    const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(both), _mm512_extracti32x8_epi32(both, 1));
    part[b] = _mm_castsi128_ps(_mm_add_epi32(_mm256_castsi256_si128(half), upper_half(half)));
  }
  alignas(16) int32_t total[4];
  _mm_store_si128(reinterpret_cast<__m128i*>(total), _mm_castps_si128(across(part, sum)));
  for (int b = 0; b < N; ++b) scales[b] = scale[b], sums[b] = total[b];
}

void quantize_row(const float* x, int n, int8_t* codes, float* scales, int32_t* sums) {
  int b = 0;
  for (; b + 4 <= n / kBlock; b += 4) quantize_blocks<4>(x + b * kBlock, codes + b * kBlock, scales + b, sums + b);
  for (; b + 2 <= n / kBlock; b += 2) quantize_blocks<2>(x + b * kBlock, codes + b * kBlock, scales + b, sums + b);
  for (; b < n / kBlock; ++b) quantize_blocks<1>(x + b * kBlock, codes + b * kBlock, scales + b, sums + b);
}

uint64_t read_bytes(const void* data, size_t len) {
  const char* p = static_cast<const char*>(data);
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
  for (size_t i = 0; i + 256 <= len; i += 256) {
    a = _mm512_xor_si512(a, _mm512_loadu_si512(p + i));
    b = _mm512_xor_si512(b, _mm512_loadu_si512(p + i + 64));
    c = _mm512_xor_si512(c, _mm512_loadu_si512(p + i + 128));
    d = _mm512_xor_si512(d, _mm512_loadu_si512(p + i + 192));
  }
  a = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(a));
}

uint64_t multiply_bytes(int64_t rounds) {
  __m512i sums[12];
  for (int i = 0; i < 12; ++i) sums[i] = _mm512_set1_epi32(i);
  __m512i codes = _mm512_set1_epi8(3);
  const __m512i x = _mm512_set1_epi8(5);
  for (int64_t r = 0; r < rounds; ++r) {
    asm("" : "+v"(codes));
    _Pragma("GCC unroll 12")
    for (int i = 0; i < 12; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], codes, x);
  }
  for (int i = 1; i < 12; ++i) sums[0] = _mm512_xor_si512(sums[0], sums[i]);
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(sums[0]));
}

}  // namespace

const KernelTable* avx512_kernels() {
  static const KernelTable table = {"avx512",   gemm_f32, gemm_q_f32, gemm_q_i8, gemm_bf16,   round_row,  4,
                                    gather_row, quantize_row, rms_norm,   rotate,    swiglu,      attend,
                                    log_sum_exp, read_bytes, multiply_bytes};
  return &table;
}

}  // namespace adtrie
#else
namespace adtrie {
const KernelTable* avx512_kernels() { return nullptr; }
}  // namespace adtrie
#endif
