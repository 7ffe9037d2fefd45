// Dense quantized weights times many rows of 8-bit activations. The codes of a few panels are widened to bytes once
// per piece of their inputs and stay in the first-level cache while all rows pass over them, so that what a row costs
// is multiply-adds: eight per block of 32 inputs and panel, and a float conversion and sum. Every output is summed in
// the order of the other kernels.
#include "int8_avx512.h"

namespace adtrie {
namespace {

constexpr int kManyRows = 4, kManyPanels = 2;  // of a tile: its sums fill the registers
constexpr int kPieceBlocks = 16;               // blocks of inputs of a piece: 2 panels x 512 inputs are 16 KiB
constexpr int kRowsAtOnce = 128;               // rows whose sums are held between pieces

// A piece of the weights, widened, and what the rows need to know of it.
struct Piece {
  int blocks, per_group;
  const uint8_t* codes[kManyPanels];  // [blocks * 8][16][4]
  alignas(64) float scales[kManyPanels][kPieceBlocks][kPanel];
  alignas(64) float mins[kManyPanels][kPieceBlocks][kPanel];
};

// Rows of a tile at the first block of a piece, and what the minima of a group weigh: min_weights[r][group].
struct PieceRows {
  const int8_t* codes;
  const float* scales;
  const int32_t* sums;
  const float (*min_weights)[kPieceBlocks];
  int64_t stride, blocks;
  int zero;
};

// Totals of the rows [R][kManyPanels][16] += what a piece contributes.
template <bool MINS, bool ONE, int R, int P>
__attribute__((noinline)) void tile_many(const Piece& piece, const PieceRows& x, float* totals) {
  const uint8_t* codes[P];
  ADTRIE_UNROLL
  for (int p = 0; p < P; ++p) codes[p] = piece.codes[p];
  vf part[R][P], total[R][P];
  ADTRIE_UNROLL
  for (int r = 0; r < R; ++r)
    ADTRIE_UNROLL
    for (int p = 0; p < P; ++p) part[r][p] = vset(0.0f), total[r][p] = vload(totals + (r * kManyPanels + p) * kPanel);
  int in_group = 0, group = 0;
  for (int b = 0; b < piece.blocks; ++b) {
    __m512i sums[R][P];
    ADTRIE_UNROLL
    for (int r = 0; r < R; ++r) {
      const __m512i start = MINS ? _mm512_setzero_si512() : _mm512_set1_epi32(-x.zero * x.sums[r * x.blocks + b]);
      ADTRIE_UNROLL
      for (int p = 0; p < P; ++p) sums[r][p] = start;
    }
    const int8_t* inputs = x.codes + b * kBlock;
    ADTRIE_UNROLL
    for (int k = 0; k < 8; ++k) {
      __m512i w[P];
      ADTRIE_UNROLL
      for (int p = 0; p < P; ++p) w[p] = load64(codes[p] + k * 64);
      ADTRIE_UNROLL
      for (int r = 0; r < R; ++r) {
        const __m512i four = broadcast4(inputs + r * x.stride + k * 4);
        ADTRIE_UNROLL
        for (int p = 0; p < P; ++p) sums[r][p] = _mm512_dpbusd_epi32(sums[r][p], w[p], four);
      }
    }
    ADTRIE_UNROLL
    for (int p = 0; p < P; ++p) codes[p] += 512;
    ADTRIE_UNROLL
    for (int r = 0; r < R; ++r) {
      const vf step = vset(x.scales[r * x.blocks + b]);
      ADTRIE_UNROLL
      for (int p = 0; p < P; ++p) {
        const vf sum = _mm512_cvtepi32_ps(sums[r][p]);
        part[r][p] = ONE ? vmul(sum, step) : vfma(sum, step, part[r][p]);
      }
    }
    if (!ONE && ++in_group < piece.per_group) continue;
    ADTRIE_UNROLL
    for (int p = 0; p < P; ++p) {
      const vf scale = vload(piece.scales[p][group]);
      ADTRIE_UNROLL
      for (int r = 0; r < R; ++r) {
        total[r][p] = vfma(part[r][p], scale, total[r][p]);
        if (MINS) total[r][p] = vfma(vload(piece.mins[p][group]), vset(x.min_weights[r][group]), total[r][p]);
        if (!ONE) part[r][p] = vset(0.0f);
      }
    }
    in_group = 0, ++group;
  }
  ADTRIE_UNROLL
  for (int r = 0; r < R; ++r)
    ADTRIE_UNROLL
    for (int p = 0; p < P; ++p) vstore(totals + (r * kManyPanels + p) * kPanel, total[r][p]);
}

template <bool MINS, bool ONE, int R, int P>
void dispatch_many(const Piece& piece, const PieceRows& x, int rows, int panels, float* totals) {
  if constexpr (R > 0 && P > 0) {
    if (rows != R)
      dispatch_many<MINS, ONE, R - 1, P>(piece, x, rows, panels, totals);
    else if (panels != P)
      dispatch_many<MINS, ONE, R, P - 1>(piece, x, rows, panels, totals);
    else
      tile_many<MINS, ONE, R, P>(piece, x, totals);
  }
}

// Low nibbles of a vector are four inputs of 16 outputs, high nibbles the next four.
inline void widen(const uint8_t* codes, int blocks, uint8_t* out) {
  const __m512i mask = _mm512_set1_epi8(15);
  for (int i = 0; i < blocks * 4; ++i) {
    const __m512i both = load64(codes + i * 64);
    _mm512_store_si512(out + i * 128, _mm512_and_si512(both, mask));
    _mm512_store_si512(out + i * 128 + 64, _mm512_and_si512(_mm512_srli_epi32(both, 4), mask));
  }
}

// Lines [lines * turn.index / turn.count, ...) of a piece further on: each tile of rows takes its turn, so that reading
// is spread over all of the multiplying.
inline void fetch_turn(const uint8_t* codes, int bytes, Turn turn) {
  const int lines = bytes / 64;
  for (int i = lines * turn.index / turn.count; i < lines * (turn.index + 1) / turn.count; ++i)
    fetch(codes + i * 64, _MM_HINT_T1);
}

// What minima weigh in every row of a piece.
inline void weigh_minima(const Call& c, int first, int rows, int block, const Piece& piece,
                         float (*min_weights)[kPieceBlocks]) {
  const int blocks = c.w.num_inputs / kBlock;
  for (int r = 0; r < rows; ++r) {
    const int64_t at = static_cast<int64_t>(first + r) * blocks + block;
    const TileRows row = {nullptr, nullptr, c.x.scales + at, c.x.sums + at, 0, blocks};
    for (int g = 0; g < piece.blocks / piece.per_group; ++g)
      min_weights[r][g] = scaled_sum(row, 0, g * piece.per_group, (g + 1) * piece.per_group);
  }
}

// All rows over a few panels.
template <bool NIBBLES, bool MINS>
void few_panels(const Call& c, const Stripe* stripes, int panels, const uint8_t* next, int first, int rows) {
  alignas(64) uint8_t bytes[kManyPanels][kPieceBlocks * 512];
  alignas(64) float totals[kRowsAtOnce][kManyPanels][kPanel];
  alignas(64) float min_weights[kRowsAtOnce][kPieceBlocks];
  Piece piece;
  const int blocks = c.w.num_inputs / kBlock, most = kPieceBlocks;
  piece.per_group = c.w.group / kBlock;
  const int step = most / piece.per_group * piece.per_group, tiles = (rows + kManyRows - 1) / kManyRows;
  constexpr int kBlockBytes = NIBBLES ? 256 : 512;
  std::memset(totals, 0, sizeof totals[0] * static_cast<size_t>(rows));
  for (int block = 0; block < blocks; block += step) {
    piece.blocks = blocks - block < step ? blocks - block : step;
    const int group = block / piece.per_group;
    const uint8_t* ahead[kManyPanels];
    for (int p = 0; p < panels; ++p) {
      const uint8_t* codes = stripes[p].codes + static_cast<int64_t>(block) * kBlockBytes;
      if (NIBBLES) widen(codes, piece.blocks, bytes[p]);
      piece.codes[p] = NIBBLES ? bytes[p] : codes;
      const bool last = block + step >= blocks;
      ahead[p] = c.plan.ahead == 0 ? nullptr
                 : !last           ? codes + step * kBlockBytes
                 : next            ? next + (stripes[p].codes - stripes[0].codes)
                                   : nullptr;
      for (int g = 0; g < piece.blocks / piece.per_group; ++g) {
        vstore(piece.scales[p][g], vhalf(stripes[p].scales + (group + g) * kPanel));
        if (MINS) vstore(piece.mins[p][g], vhalf(stripes[p].mins + (group + g) * kPanel));
      }
    }
    if (MINS) weigh_minima(c, first, rows, block, piece, min_weights);
    for (int t = 0; t < tiles; ++t) {
      const int r = rows * t / tiles, count = rows * (t + 1) / tiles - r;
      const int64_t at = static_cast<int64_t>(first + r) * blocks + block;
      const PieceRows x = {c.x.codes + (first + r) * c.x.stride + block * kBlock, c.x.scales + at, c.x.sums + at,
                           min_weights + r, c.x.stride, blocks, c.w.zero};
      for (int p = 0; p < panels; ++p)
        if (ahead[p]) fetch_turn(ahead[p], step * kBlockBytes, {t, tiles});
      (piece.per_group == 1 ? dispatch_many<MINS, true, kManyRows, kManyPanels>
                            : dispatch_many<MINS, false, kManyRows, kManyPanels>)(piece, x, count, panels,
                                                                                  totals[r][0]);
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int p = 0; p < panels; ++p) put(c, first + r, stripes[p].column, vload(totals[r][p]));
}

template <bool NIBBLES, bool MINS>
void panels_many(const Call& c, const Series& series, int rows) {
  const auto& [form, stripes, count, after] = series;
  for (int first = 0; first < rows; first += kRowsAtOnce)
    for (int i = 0; i < count; i += kManyPanels) {
      const int some = count - i < kManyPanels ? count - i : kManyPanels;
      const uint8_t* next = i + 2 * kManyPanels <= count ? stripes[i + kManyPanels].codes : after.codes;
      few_panels<NIBBLES, MINS>(c, stripes + i, some, next, first, rows - first < kRowsAtOnce ? rows - first : kRowsAtOnce);
    }
}

void gemm_q_i8(const Panels& w, int begin, int end, const Int8Rows& x, int rows, float* y, int64_t ys, bool add,
               const GemmPlan& plan, Reading next) {
  const Call call = {w, x, y, ys, add, plan};
  const auto multiply = [&](const Series& series) {
    const Format form = series.form;
    const bool nibbles = form == Format::kQ4, many = plan.widen && w.group <= kPieceBlocks * kBlock;
    auto run = form == Format::kS24   ? panels_i8<Format::kS24, false>
               : form == Format::kS14 ? panels_i8<Format::kS14, false>
               : many && nibbles      ? (w.mins ? panels_many<true, true> : panels_many<true, false>)
               : many                 ? (w.mins ? panels_many<false, true> : panels_many<false, false>)
               : nibbles              ? (w.mins ? panels_i8<Format::kQ4, true> : panels_i8<Format::kQ4, false>)
                                      : (w.mins ? panels_i8<Format::kQ8, true> : panels_i8<Format::kQ8, false>);
    run(call, series, rows);
  };
  if (is_stream(plan, rows))  // in order of memory, whatever the forms
    for_each_neighbourhood(w, begin, end, next, multiply);
  else
    for_each_form(w, begin, end, next, multiply);
}

}  // namespace
}  // namespace adtrie
