// The activations of a tile of the 512-bit kernels, and how they and codes come into registers.
#pragma once
#include <cmath>
#include <cstring>

#include "stream.h"
#include "vectors_avx512.h"

namespace adtrie {
namespace {

// Tiles live in registers only if their loops are unrolled whole.
#define ADTRIE_UNROLL _Pragma("GCC unroll 12")
#define ADTRIE_INLINE __attribute__((always_inline))

// The activations of a tile, from its first row on. By value, so that stores need not reload it.
struct TileRows {
  const int8_t* codes;
  const uint8_t* gather;
  const float* scales;
  const int32_t* sums;
  int64_t stride, blocks;
};

inline __m512i broadcast4(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}
// In a register even if used twice: a second read of the cache costs more than it saves.
inline __m512i load64(const uint8_t* p) {
  __m512i v = _mm512_loadu_si512(p);
  asm("" : "+v"(v));
  return v;
}

}  // namespace
}  // namespace adtrie
