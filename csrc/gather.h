// A call, the activations of a tile, and what sparse panels gather from (Int8Rows::gather): what the kernels of 256 and
// 512 bits share.
#pragma once
#include <immintrin.h>

#include "kernels.h"

namespace adtrie {
namespace {

#define ADTRIE_INLINE __attribute__((always_inline))

template <typename T>
ADTRIE_INLINE inline void fetch(const T* at, _mm_hint hint) {
  _mm_prefetch(reinterpret_cast<const char*>(at), hint);
}

// What multiplies with 8-bit activations is given.
struct Call {
  const Panels& w;
  const Int8Rows& x;
  float* y;
  int64_t ys;
  bool add;
  const GemmPlan& plan;
};

// The activations of a tile, from its first row on. By value, so that stores need not reload it.
struct TileRows {
  const int8_t* codes;
  const uint8_t* gather;
  const float* scales;
  const int32_t* sums;
  int64_t stride, blocks;
};

inline TileRows rows_from(const Int8Rows& x, int row, int blocks) {
  const int64_t first = static_cast<int64_t>(row) * blocks;
  return {x.codes + row * x.stride, x.gather ? x.gather + 2 * row * x.stride : nullptr, x.scales + first, x.sums + first,
          x.stride, blocks};
}

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
