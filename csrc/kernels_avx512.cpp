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

void quantize_row(const float* x, int n, int8_t* codes, float* scales, int32_t* sums) {
  for (int b = 0; b < n / kBlock; ++b) {
    const vf first = vload(x + b * kBlock), second = vload(x + b * kBlock + 16);
    const float peak = _mm512_reduce_max_ps(vmax(_mm512_abs_ps(first), _mm512_abs_ps(second)));
    const vf inverse = vset(peak > 0.0f ? 127.0f / peak : 0.0f);
    const __m512i q0 = _mm512_cvtps_epi32(vround(vmul(first, inverse)));
    const __m512i q1 = _mm512_cvtps_epi32(vround(vmul(second, inverse)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + b * kBlock), _mm512_cvtepi32_epi8(q0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + b * kBlock + 16), _mm512_cvtepi32_epi8(q1));
    scales[b] = peak / 127.0f;
    sums[b] = _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
  }
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
