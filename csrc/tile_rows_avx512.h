// How the activations of a tile of the 512-bit kernels and its codes come into registers.
#pragma once
#include <cmath>
#include <cstring>

#include "gather.h"
#include "stream.h"
#include "vectors_avx512.h"

namespace adtrie {
namespace {

// Tiles live in registers only if their loops are unrolled whole.
#define ADTRIE_UNROLL _Pragma("GCC unroll 12")

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
