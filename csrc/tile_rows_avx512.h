// What a tile of the 512-bit kernels fetches and stores, and how its activations and codes come into registers.
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

ADTRIE_INLINE inline void put(const Call& c, int row, int column, vf sum) {
  float* out = c.y + row * c.ys + column;
  vstore(out, c.add ? vadd(vload(out), sum) : sum);
}

ADTRIE_INLINE inline void fetch_line(const uint8_t* line, const GemmPlan& plan) {
  if (plan.near)
    fetch(line, _MM_HINT_T0);
  else
    fetch(line, _MM_HINT_T1);
}

// Which of the tiles of rows over one piece of the weights this is: they take turns in fetching lines further on.
struct Turn {
  int index, count;
};

// What a tile of P panels fetches while it multiplies: codes of as many panels further on, one panel after the other,
// and the scales of those that take its place. Scales are a stream of their own, too slow a one for the processor.
template <int P>
struct Ahead {
  const uint8_t* codes[P];
  int64_t scales[P];  // how far from those in use
};

}  // namespace
}  // namespace adtrie
