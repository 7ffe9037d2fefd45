// The small vector vocabulary of the AVX-512 tables.
#pragma once
#include <immintrin.h>

#include <cstdint>

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
// a / b to two units in the last place, for b from 1 to 1e38: a whole division takes several times as long.
inline vf vquotient(vf a, vf b) {
  const vf guess = _mm512_rcp14_ps(b);
  return _mm512_mul_ps(a, _mm512_mul_ps(guess, _mm512_fnmadd_ps(b, guess, _mm512_set1_ps(2.0f))));
}
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
