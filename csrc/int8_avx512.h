// Quantized weights times 8-bit activations with VNNI. A tile is R rows x P panels; every output is summed in the
// same order whatever the tile: integers per block of 32 inputs, a float sum per group, then over groups.
//
// 4-bit forms hold 16 times the integer sum: a high nibble masked in place is 16 * code, and one scale / 16 per
// group takes it back exactly. Dense weights are the unsigned operand of vpdpbusd and the zero point enters as the
// start value -zero * sum(x). Survivors are the signed operand, 16 * (code - 8): the activations that one byte
// shuffle gathers are x + 128, and 128 * sum(weights) is taken off, computed once for all rows of a tile.
#pragma once
#include "tile_pairs_avx512.h"

namespace adtrie {
namespace {

// Integer sums of one block, dense: sums[r][p], 16-fold where the codes are nibbles.
template <bool NIBBLES, bool MINS, int R, int P>
ADTRIE_INLINE inline void dense_block(TileRows x, int zero, const uint8_t* const* codes, int block, __m512i sums[R][P]) {
  constexpr bool kSplit = NIBBLES && R <= 2;  // few rows: low nibbles unshifted in sums of their own
  constexpr int kChunks = NIBBLES ? 4 : 8;
  const __m512i low_mask = _mm512_set1_epi8(15), high_mask = _mm512_set1_epi8(static_cast<char>(0xf0));
  __m512i split[R][P];
  ADTRIE_UNROLL
  for (int r = 0; r < R; ++r) {
    const int start = -zero * x.sums[r * x.blocks + block];
    const __m512i first = MINS ? _mm512_setzero_si512() : _mm512_set1_epi32(NIBBLES && !kSplit ? 16 * start : start);
    ADTRIE_UNROLL
    for (int p = 0; p < P; ++p) sums[r][p] = first, split[r][p] = _mm512_setzero_si512();
  }
  ADTRIE_UNROLL
  for (int k = 0; k < kChunks; ++k) {
    __m512i low[P], high[P];
    ADTRIE_UNROLL
    for (int p = 0; p < P; ++p) {
      low[p] = load64(codes[p] + k * 64);
      if (!NIBBLES) continue;
      high[p] = _mm512_and_si512(low[p], high_mask);
      low[p] = kSplit ? _mm512_and_si512(low[p], low_mask) : _mm512_and_si512(_mm512_slli_epi32(low[p], 4), high_mask);
    }
    ADTRIE_UNROLL
    for (int r = 0; r < R; ++r) {
      const int8_t* four = x.codes + r * x.stride + block * kBlock + k * (NIBBLES ? 8 : 4);
      const __m512i first = broadcast4(four);
      ADTRIE_UNROLL
      for (int p = 0; p < P; ++p) sums[r][p] = _mm512_dpbusd_epi32(sums[r][p], low[p], first);
      if (!NIBBLES) continue;
      const __m512i second = broadcast4(four + 4);
      ADTRIE_UNROLL
      for (int p = 0; p < P; ++p) {
        __m512i& into = kSplit ? split[r][p] : sums[r][p];
        into = _mm512_dpbusd_epi32(into, high[p], second);
      }
    }
  }
  if (kSplit)
    ADTRIE_UNROLL
    for (int r = 0; r < R; ++r)
      ADTRIE_UNROLL
      for (int p = 0; p < P; ++p)
        sums[r][p] = _mm512_add_epi32(_mm512_slli_epi32(sums[r][p], 4), split[r][p]);
}

// part[r][p] += step of the row's activation block times the block's integers.
template <int R, int P>
ADTRIE_INLINE inline void add_block(TileRows x, int block, const __m512i sums[R][P], vf part[R][P]) {
  ADTRIE_UNROLL
  for (int r = 0; r < R; ++r) {
    const vf step = vset(x.scales[r * x.blocks + block]);
    ADTRIE_UNROLL
    for (int p = 0; p < P; ++p) part[r][p] = vfma(_mm512_cvtepi32_ps(sums[r][p]), step, part[r][p]);
  }
}

// Sum over blocks [begin, end) of step * sum of codes, what a minimum is multiplied with.
inline float scaled_sum(TileRows x, int r, int begin, int end) {
  float sum = 0.0f;
  for (int b = begin; b < end; ++b)
    sum = std::fma(static_cast<float>(x.sums[r * x.blocks + b]), x.scales[r * x.blocks + b], sum);
  return sum;
}

constexpr int kFewRows = 2;               // one tile that is done with a line sooner than the next one comes from memory
constexpr int64_t kStreamBytes = 3 << 10;  // how far ahead a single stream of weights is fetched for them
inline bool is_stream(const GemmPlan& plan, int rows) { return plan.panels == 1 && rows <= kFewRows; }

// The float sums of a tile over its groups: in registers where those of all rows and panels fit beside what a block
// needs, for storing and reading them again after each group costs a tenth of the time.
template <bool HELD, int R, int P>
struct Totals {
  vf sums[R][P];
  ADTRIE_INLINE vf get(int r, int p) const { return sums[r][p]; }
  ADTRIE_INLINE void set(int r, int p, vf sum) { sums[r][p] = sum; }
};
template <int R, int P>
struct Totals<false, R, P> {
  alignas(64) float sums[R][P][kPanel];
  ADTRIE_INLINE vf get(int r, int p) const { return vload(sums[r][p]); }
  ADTRIE_INLINE void set(int r, int p, vf sum) { vstore(sums[r][p], sum); }
};

// FETCH: weights further on are fetched meanwhile, evenly, so that reading and multiplying overlap.
template <Format FORM, bool MINS, bool FETCH, int R, int P>
__attribute__((noinline)) void tile_i8(const Call& c, const Stripe* stripes, int row, Turn turn, const Ahead<P>& ahead) {
  constexpr bool kDense = FORM == Format::kQ4 || FORM == Format::kQ8, kNibbles = FORM != Format::kQ8;
  constexpr int kLines = FORM == Format::kQ8 ? 8 : kDense ? 4 : 3, kWide = FORM == Format::kS14 ? 2 : 1;
  constexpr bool kStream = R <= kFewRows && P == 1;  // hardly slowed by its rows: it comes past the other caches
  const int blocks = c.w.num_inputs / kBlock, per_group = c.w.group / kBlock, zero = c.w.zero;
  const TileRows x = rows_from(c.x, row, blocks);
  const uint8_t* codes[P];
  ADTRIE_UNROLL
  for (int p = 0; p < P; ++p) codes[p] = stripes[p].codes;
  Totals<kDense, R, P> total;
  vf part[R][P];
  ADTRIE_UNROLL
  for (int r = 0; r < R; ++r)
    ADTRIE_UNROLL
    for (int p = 0; p < P; ++p) part[r][p] = vset(0.0f), total.set(r, p, vset(0.0f));
  int in_group = 0, group = 0;
  // One panel after the other: fetched side by side they would be several streams.
  const int64_t bytes = panel_bytes(FORM, c.w.num_inputs);
  const uint8_t *fetched = ahead.codes[0], *line = fetched + turn.index * 64, *fetched_end = fetched + bytes;
  const uint8_t* const* next = ahead.codes;
  const auto close_block = [&](int block) ADTRIE_INLINE {
    if (++in_group < per_group) return;
    float weight[R];  // of the minima
    ADTRIE_UNROLL
    for (int r = 0; MINS && r < R; ++r) weight[r] = scaled_sum(x, r, block + 1 - per_group, block + 1);
    ADTRIE_UNROLL
    for (int p = 0; p < P; ++p) {
      if (FETCH) fetch(stripes[p].scales + group * kPanel + ahead.scales[p], _MM_HINT_T0);
      if (FETCH && MINS) fetch(stripes[p].mins + group * kPanel + ahead.scales[p], _MM_HINT_T0);
      const vf scale = vmul(vhalf(stripes[p].scales + group * kPanel), vset(kNibbles ? 0.0625f : 1.0f));
      ADTRIE_UNROLL
      for (int r = 0; r < R; ++r) {
        vf sum = vfma(part[r][p], scale, total.get(r, p));
        if (MINS) sum = vfma(vhalf(stripes[p].mins + group * kPanel), vset(weight[r]), sum);
        total.set(r, p, sum);
        part[r][p] = vset(0.0f);
      }
    }
    in_group = 0, ++group;
  };
  for (int b = 0; b < blocks; b += kWide) {
    fetched += kLines * P * 64;
    for (; FETCH && line < fetched; line += turn.count * 64) {
      if (P > 1 && line >= fetched_end) {
        const int64_t jump = *++next - fetched_end;
        line += jump, fetched += jump, fetched_end += jump + bytes;
      }
      if (kStream)
        fetch(line, _MM_HINT_NTA);
      else
        fetch_line(line, c.plan);
    }
    if constexpr (kDense) {
      __m512i sums[R][P];
      dense_block<kNibbles, MINS, R, P>(x, zero, codes, b, sums);
      add_block<R, P>(x, b, sums, part);
      close_block(b);
    } else {
      constexpr int kKept = FORM == Format::kS24 ? 2 : 1;
      Unit units[P];
      ADTRIE_UNROLL
      for (int p = 0; p < P; ++p) units[p] = decode_unit<kKept>(codes[p], b);
      sparse_block<kKept, 0, 4 / kWide, R, P>(x, units, b * kBlock, b, part);
      close_block(b);
      if constexpr (kWide == 2)
        if (b + 1 < blocks) {
          sparse_block<kKept, 2, 2, R, P>(x, units, b * kBlock, b + 1, part);
          close_block(b + 1);
        }
    }
    ADTRIE_UNROLL
    for (int p = 0; p < P; ++p) codes[p] += kLines * 64;
  }
  ADTRIE_UNROLL
  for (int r = 0; r < R; ++r)
    ADTRIE_UNROLL
    for (int p = 0; p < P; ++p) put(c, row + r, stripes[p].column, total.get(r, p));
}

// Rows and panels of a tile: as many as keep their sums in registers (dense), or share a decoded unit well. Five dense
// rows leave some of what they need in memory, but ten are two tiles of five instead of three.
constexpr bool is_dense(Format form) { return form == Format::kQ4 || form == Format::kQ8; }
constexpr int most_rows_of(Format form) { return is_dense(form) ? 5 : form == Format::kS24 ? 12 : 8; }
constexpr int panels_of(Format form, int rows) { return is_dense(form) || rows <= 2 ? 2 : 1; }
constexpr int kFewTiles = 3;
inline int rows_of(Format form, int rows) {
  const int most = most_rows_of(form);
  return is_dense(form) && rows > kFewTiles * most ? most - 1 : most;
}

// What is fetched while the panels of a series from `first` on are multiplied: those `far` panels further on.
template <int P>
ADTRIE_INLINE inline Ahead<P> ahead_of(const Series& series, int first, int far, int64_t bytes, int scales) {
  Ahead<P> found;
  for (int p = 0; p < P; ++p) {
    const Stripe& own = series.stripes[first + p];
    const int beyond = first + p + far - series.count, then = first + p + P - series.count;
    found.codes[p] = beyond < 0          ? series.stripes[first + p + far].codes
                     : series.next.codes ? series.next.codes + beyond * bytes
                                         : own.codes;
    found.scales[p] = then < 0             ? series.stripes[first + p + P].scales - own.scales
                      : series.next.scales ? series.next.scales + then * scales - own.scales
                                           : 0;
  }
  return found;
}

// What the tiles of a call have in common.
struct Tiles {
  const Call& call;
  const Series& series;
  int far, scales;  // panels from those in use to those fetched; scales of a panel
  int64_t bytes;
  bool stream;
};

template <Format FORM, bool MINS, bool FETCH, int R, int P>
ADTRIE_INLINE inline void run_tile(const Tiles& t, int first, int row, Turn turn) {
  Ahead<P> ahead = {};
  if (FETCH) {
    ahead = ahead_of<P>(t.series, first, t.far, t.bytes, t.scales);
    const uint8_t* own = t.series.stripes[first].codes;
    const bool goes_on = first + 1 < t.series.count || t.series.next.codes == own + t.bytes;
    if (P == 1 && t.stream && goes_on) ahead.codes[0] = own + t.call.plan.ahead * kStreamBytes;
  }
  if constexpr (!is_dense(FORM) && P == 1 && R > kFewRows)
    if (t.call.w.group == 2 * kBlock) return tile_pairs<FORM, FETCH, R>(t.call, t.series.stripes[first], row, turn, ahead);
  tile_i8<FORM, MINS, FETCH, R, P>(t.call, t.series.stripes + first, row, turn, ahead);
}

template <Format FORM, bool MINS, bool FETCH, int R>
void dispatch_i8(const Tiles& t, int first, int count, int row, int rows, Turn turn) {
  if constexpr (R > 0) {
    if (rows != R) return dispatch_i8<FORM, MINS, FETCH, R - 1>(t, first, count, row, rows, turn);
    constexpr int P = panels_of(FORM, R);
    int i = first;
    for (; i + P <= first + count; i += P) run_tile<FORM, MINS, FETCH, R, P>(t, i, row, turn);
    for (; i < first + count; ++i) run_tile<FORM, MINS, FETCH, R, 1>(t, i, row, turn);
  }
}

// A few panels at a time over all rows: later rows find the panels in a near cache.
template <Format FORM, bool MINS>
void panels_i8(const Call& c, const Series& series, int rows) {
  constexpr int kMostRows = most_rows_of(FORM);
  const int of_tile = rows_of(FORM, rows), tiles = (rows + of_tile - 1) / of_tile;
  const int step = c.plan.panels, scales = c.w.num_inputs / c.w.group * kPanel;
  const Tiles all = {c, series, step * c.plan.ahead, scales, panel_bytes(FORM, c.w.num_inputs), is_stream(c.plan, rows)};
  const auto run = all.far > 0 ? dispatch_i8<FORM, MINS, true, kMostRows> : dispatch_i8<FORM, MINS, false, kMostRows>;
  for (int i = 0; i < series.count; i += step)
    for (int t = 0; t < tiles; ++t) {
      const int row = rows * t / tiles, next = rows * (t + 1) / tiles;
      run(all, i, i + step < series.count ? step : series.count - i, row, next - row, {t, tiles});
    }
}

}  // namespace
}  // namespace adtrie
