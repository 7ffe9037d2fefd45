// Sparse tiles of weights in groups of 64 inputs: two blocks are a group, so the sum over groups is all that a row keeps.
#pragma once
#include "survivors_avx512.h"

namespace adtrie {
namespace {

// One sparse panel in groups of 64 inputs times a few rows: a row's two blocks are summed one after the other, so that
// its sum over groups is all that stays in a register meanwhile. Of 2:4 a group is two units, of 1:4 one.
template <Format FORM, bool FETCH, int R>
__attribute__((noinline)) void tile_pairs(const Call& c, const Stripe& stripe, int row, Turn turn, const Ahead<1>& ahead) {
  constexpr int kKept = FORM == Format::kS24 ? 2 : 1, kUnits = kKept, kSteps = 2 * kUnits;
  constexpr int kSecond = kUnits == 2 ? 0 : kSteps;  // the first step of the second block
  const int blocks = c.w.num_inputs / kBlock;
  const TileRows x = rows_from(c.x, row, blocks);
  const uint8_t *codes = stripe.codes, *line = ahead.codes[0] + turn.index * 64, *fetched = ahead.codes[0];
  const uint16_t* scales = stripe.scales;
  vf total[R];
  ADTRIE_UNROLL
  for (int r = 0; r < R; ++r) total[r] = vset(0.0f);
  for (int b = 0; b < blocks; b += 2, codes += kUnits * 192, scales += kPanel) {
    fetched += kUnits * 192;
    for (; FETCH && line < fetched; line += turn.count * 64) fetch_line(line, c.plan);
    if (FETCH) fetch(scales + ahead.scales[0], _MM_HINT_T0);
    Unit units[kUnits];
    ADTRIE_UNROLL
    for (int u = 0; u < kUnits; ++u) units[u] = decode_unit<kKept>(codes + u * 192, b + u);
    const Unit& last = units[kUnits - 1];
    const __m512i zero = _mm512_setzero_si512();
    const __m512i starts[2] = {_mm512_sub_epi32(zero, offset_of<0, kSteps>(units[0])),
                               _mm512_sub_epi32(zero, offset_of<kSecond, kSteps>(last))};
    const vf scale = vmul(vhalf(scales), vset(0.0625f));
    ADTRIE_UNROLL
    for (int r = 0; r < R; ++r) {
      const Tables tables(x.gather + 2 * r * x.stride, b * kBlock, x.stride);
      const float* steps = x.scales + r * x.blocks + b;
      const Tables& second = kUnits == 2 ? tables.second_block() : tables;
      const __m512i sums[2] = {sum_of<kKept, 0, kSteps>(tables, units[0], starts[0]),
                               sum_of<kKept, kSecond, kSteps>(second, last, starts[1])};
      const vf part = vfma(_mm512_cvtepi32_ps(sums[0]), vset(steps[0]), vset(0.0f));
      total[r] = vfma(vfma(_mm512_cvtepi32_ps(sums[1]), vset(steps[1]), part), scale, total[r]);
    }
  }
  ADTRIE_UNROLL
  for (int r = 0; r < R; ++r) put(c, row + r, stripe.column, total[r]);
}

}  // namespace
}  // namespace adtrie
