// Survivors of sparse panels in 512 bits: decoded once for all rows of a tile, then multiplied with the activations that a
// byte shuffle gathers for them.
#pragma once
#include "tile_rows_avx512.h"

namespace adtrie {
namespace {

// The activations that one step of a sparse unit gathers from. With VBMI a byte can be fetched from anywhere in a
// register, so that two tables of 64 inputs, in order and transposed, serve all steps of a unit or, of 2:4, of two;
// without it every step has the 16 bytes it needs repeated in all lanes, which costs a shuffle more where loads cannot
// do it.
#if defined(__AVX512VBMI__)
struct Tables {
  __m512i plain, turned;
  Tables(const uint8_t* row, int64_t input, int64_t to_turned)
      : plain(load64(row + input / 64 * 64)), turned(load64(row + input / 64 * 64 + to_turned)) {}
  ADTRIE_INLINE __m512i of(int step, int) const { return step % 2 ? turned : plain; }
  ADTRIE_INLINE const Tables& second_block() const { return *this; }  // of a pair, from those of the first
};
inline __m512i gathered(__m512i table, __m512i index) { return _mm512_permutexvar_epi8(index, table); }
#else
struct Tables {
  const uint8_t* at;
  int64_t to_turned;
  Tables(const uint8_t* row, int64_t input, int64_t distance) : at(row + input), to_turned(distance) {}
  ADTRIE_INLINE Tables second_block() const { return {at, kBlock, to_turned}; }
  ADTRIE_INLINE __m512i of(int step, int sixteen) const {
    const uint8_t* table = at + sixteen * 16 + (step % 2 ? to_turned : 0);
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  }
};
inline __m512i gathered(__m512i table, __m512i index) { return _mm512_shuffle_epi8(table, index); }
#endif

// A sparse unit in registers: shuffle indices and 16 * (code - 8) of its four steps.
struct Unit {
  __m512i index[4], weight[4];
};

// What is added to the positions of a step: slot j of a lane reads block j / kept of the step's 16 inputs, which is
// 4 (j / kept) further on in order, j / kept in the transposed table, where the second step of 2:4 has the blocks 2 and 3.
// Of 2:4 every second unit has its own 32 inputs in the second half of its tables.
template <int KEPT>
constexpr int32_t slots_of(int step, int unit) {
  const int32_t slots = step % 2 ? (KEPT == 2 ? 0x03030202 : 0x03020100) : (KEPT == 2 ? 0x04040000 : 0x0c080400);
  return slots + (sixteen_of<KEPT>(step) + 2 * unit) * 0x10101010;
}
template <int KEPT>
constexpr int32_t kSlots[2][4] = {
    {slots_of<KEPT>(0, 0), slots_of<KEPT>(1, 0), slots_of<KEPT>(2, 0), slots_of<KEPT>(3, 0)},
    {slots_of<KEPT>(0, 1), slots_of<KEPT>(1, 1), slots_of<KEPT>(2, 1), slots_of<KEPT>(3, 1)}};
template <int KEPT>
ADTRIE_INLINE inline __m512i base_of(int step, int block) {
  return _mm512_set1_epi32(kSlots<KEPT>[block % KEPT][step]);
}

template <int KEPT>
ADTRIE_INLINE inline Unit decode_unit(const uint8_t* codes, int block) {
  const __m512i first = _mm512_set1_epi8(3), second = _mm512_set1_epi8(12);
  const __m512i high = _mm512_set1_epi8(static_cast<char>(0xf0)), sign = _mm512_set1_epi8(static_cast<char>(0x80));
  const __m512i x = load64(codes), y = load64(codes + 64), z = load64(codes + 128);
  constexpr int kAndOr = 0xea, kAndXor = 0x6a;
  Unit u;
  u.index[0] = _mm512_ternarylogic_epi32(x, first, base_of<KEPT>(0, block), kAndOr);
  u.index[1] = _mm512_ternarylogic_epi32(x, second, base_of<KEPT>(1, block), kAndOr);
  u.index[2] = _mm512_ternarylogic_epi32(y, first, base_of<KEPT>(2, block), kAndOr);
  u.index[3] = _mm512_ternarylogic_epi32(y, second, base_of<KEPT>(3, block), kAndOr);
  u.weight[0] = _mm512_ternarylogic_epi32(x, high, sign, kAndXor);
  u.weight[1] = _mm512_ternarylogic_epi32(z, high, sign, kAndXor);
  u.weight[2] = _mm512_ternarylogic_epi32(y, high, sign, kAndXor);
  u.weight[3] = _mm512_ternarylogic_epi32(_mm512_slli_epi32(z, 4), high, sign, kAndXor);
  return u;
}

// The integer sums of one block for a row: COUNT steps of a unit from FIRST on, added to `sum`.
template <int KEPT, int FIRST, int COUNT>
ADTRIE_INLINE inline __m512i sum_of(const Tables& tables, const Unit& unit, __m512i sum) {
  ADTRIE_UNROLL
  for (int s = FIRST; s < FIRST + COUNT; ++s)
    sum = _mm512_dpbusd_epi32(sum, gathered(tables.of(s, sixteen_of<KEPT>(s)), unit.index[s]), unit.weight[s]);
  return sum;
}

// What 128 in place of each activation gives in these steps.
template <int FIRST, int COUNT>
ADTRIE_INLINE inline __m512i offset_of(const Unit& unit) {
  __m512i sum = _mm512_setzero_si512();
  ADTRIE_UNROLL
  for (int s = FIRST; s < FIRST + COUNT; ++s)
    sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(static_cast<char>(128)), unit.weight[s]);
  return sum;
}

// part[r][p] += step of the row's activation block times the integers of the block that steps [FIRST, FIRST + COUNT)
// of a unit make, 16-fold. `input`: where the unit's inputs begin. A row's sums become floats at once: those of all rows
// would not fit the registers, and storing whole vectors is dear.
template <int KEPT, int FIRST, int COUNT, int R, int P>
ADTRIE_INLINE inline void sparse_block(TileRows x, const Unit* units, int64_t input, int block, vf part[R][P]) {
  constexpr bool kStart = R > 2;  // many rows: the offset is their start; few: a chain of its own, taken off last
  const __m512i zero = _mm512_setzero_si512();
  __m512i offset[P];
  ADTRIE_UNROLL
  for (int p = 0; p < P; ++p) {
    offset[p] = offset_of<FIRST, COUNT>(units[p]);
    if (kStart) offset[p] = _mm512_sub_epi32(zero, offset[p]);
  }
  ADTRIE_UNROLL
  for (int r = 0; r < R; ++r) {
    const Tables tables(x.gather + 2 * r * x.stride, input, x.stride);
    const vf step = vset(x.scales[r * x.blocks + block]);
    ADTRIE_UNROLL
    for (int p = 0; p < P; ++p) {
      __m512i sum = sum_of<KEPT, FIRST, COUNT>(tables, units[p], kStart ? offset[p] : zero);
      if (!kStart) sum = _mm512_sub_epi32(sum, offset[p]);
      part[r][p] = vfma(_mm512_cvtepi32_ps(sum), step, part[r][p]);
    }
  }
}

}  // namespace
}  // namespace adtrie
