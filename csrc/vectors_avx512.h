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
// Of all lanes, the upper half joined to the lower at each step.
inline float vsum(vf a) { return _mm512_reduce_add_ps(a); }
inline float vtop(vf a) { return _mm512_reduce_max_ps(a); }
inline vf vround(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vf vscale2(vf a, vf n) { return _mm512_scalef_ps(a, n); }
inline vf vhalf(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline vf vcode(const uint8_t* p, int j, int nibble, int zero) {
  const __m512i word = _mm512_loadu_si512(p);
  const __m512i code = _mm512_and_si512(_mm512_srli_epi32(word, 8 * j + (nibble == 1 ? 4 : 0)),
                                        _mm512_set1_epi32(nibble < 0 ? 255 : 15));
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(code, _mm512_set1_epi32(zero)));
}
using vi = __m512i;
inline vi vlanes(const int32_t* lanes) { return _mm512_loadu_si512(lanes); }
// Of 16 floats those of the lanes.
inline vf vpick(const float* p, vi lanes) { return _mm512_permutexvar_ps(lanes, vload(p)); }
// 16 rows of 16 floats, turned: out[c * 16 + r] = rows[r][c].
inline void vturn(const float* const* rows, int at, float* out) {
  __m512 x[16], y[16];
  for (int i = 0; i < 16; i += 2) {
    const __m512 a = vload(rows[i] + at), b = vload(rows[i + 1] + at);
    x[i] = _mm512_unpacklo_ps(a, b), x[i + 1] = _mm512_unpackhi_ps(a, b);
  }
  const auto pairs = [](__m512 a, __m512 b, bool high) {
    const __m512d c = _mm512_castps_pd(a), d = _mm512_castps_pd(b);
    return _mm512_castpd_ps(high ? _mm512_unpackhi_pd(c, d) : _mm512_unpacklo_pd(c, d));
  };
  for (int i = 0; i < 16; i += 4)
    for (int c = 0; c < 4; ++c) y[i + c] = pairs(x[i + c / 2], x[i + 2 + c / 2], c % 2);
  for (int c = 0; c < 4; ++c) {  // y[4 i + c]: columns c, c + 4, c + 8, c + 12 of rows 4 i to 4 i + 3
    const __m512 a = _mm512_shuffle_f32x4(y[c], y[4 + c], 0x88), b = _mm512_shuffle_f32x4(y[8 + c], y[12 + c], 0x88);
    const __m512 e = _mm512_shuffle_f32x4(y[c], y[4 + c], 0xdd), f = _mm512_shuffle_f32x4(y[8 + c], y[12 + c], 0xdd);
    vstore(out + c * 16, _mm512_shuffle_f32x4(a, b, 0x88)), vstore(out + (c + 8) * 16, _mm512_shuffle_f32x4(a, b, 0xdd));
    vstore(out + (c + 4) * 16, _mm512_shuffle_f32x4(e, f, 0x88));
    vstore(out + (c + 12) * 16, _mm512_shuffle_f32x4(e, f, 0xdd));
  }
}
inline vf vbf16(const uint8_t* p, int odd) {
  const __m512i pair = _mm512_loadu_si512(p);
  return _mm512_castsi512_ps(odd ? _mm512_and_si512(pair, _mm512_set1_epi32(static_cast<int>(0xffff0000)))
                                 : _mm512_slli_epi32(pair, 16));
}

}  // namespace
}  // namespace adtrie
