// AVX-512 F/BW/VL/DQ + VNNI. Compiled with those flags for this file only; called only where the CPU has them.
#include "kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
#include <immintrin.h>

namespace adtrie {
namespace {

using vf = __m512;
constexpr int W = 16;
inline vf vset(float x) { return _mm512_set1_ps(x); }
inline vf vload(const float* p) { return _mm512_loadu_ps(p); }
inline void vstore(float* p, vf v) { _mm512_storeu_ps(p, v); }
inline vf vadd(vf a, vf b) { return _mm512_add_ps(a, b); }
inline vf vsub(vf a, vf b) { return _mm512_sub_ps(a, b); }
inline vf vmul(vf a, vf b) { return _mm512_mul_ps(a, b); }
inline vf vdiv(vf a, vf b) { return _mm512_div_ps(a, b); }
inline vf vmax(vf a, vf b) { return _mm512_max_ps(a, b); }
inline vf vmin(vf a, vf b) { return _mm512_min_ps(a, b); }
inline vf vfma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
inline vf vround(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vf vscale2(vf a, vf n) { return _mm512_scalef_ps(a, n); }
inline vf vhalf(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline vf vcode(const uint8_t* p, int j, int nibble, int zero) {
  const __m512i word = _mm512_loadu_si512(p);
  const __m512i code = _mm512_and_si512(_mm512_srli_epi32(word, 8 * j + (nibble == 1 ? 4 : 0)),
                                        _mm512_set1_epi32(nibble < 0 ? 255 : 15));
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(code, _mm512_set1_epi32(zero)));
}
inline vf vbf16(const uint8_t* p, int odd) {
  const __m512i pair = _mm512_loadu_si512(p);
  return _mm512_castsi512_ps(odd ? _mm512_and_si512(pair, _mm512_set1_epi32(static_cast<int>(0xffff0000)))
                                 : _mm512_slli_epi32(pair, 16));
}

}  // namespace
}  // namespace adtrie

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
