// The activations that sparse panels gather from (Int8Rows::gather): what the kernels of 256 and 512 bits share.
#pragma once
#include <immintrin.h>

#include "kernels.h"

namespace adtrie {
namespace {

// Which 16 inputs of its unit step `step` gathers from. 2:4: two steps share them; 1:4: every step has its own.
template <int KEPT>
constexpr int sixteen_of(int step) {
  return KEPT == 2 ? step / 2 : step;
}

inline void gather_row(const int8_t* codes, int n, uint8_t* plain, uint8_t* turned) {
  const __m128i half = _mm_set1_epi8(static_cast<char>(128));
  const __m128i turn = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (int k = 0; k < n; k += 16) {
    const __m128i x = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + k)), half);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(plain + k), x);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(turned + k), _mm_shuffle_epi8(x, turn));
  }
}

}  // namespace
}  // namespace adtrie
