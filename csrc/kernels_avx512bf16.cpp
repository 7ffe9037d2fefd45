// The AVX-512 table with VBMI, and products of bfloat16 as one instruction takes them: two inputs per lane.
// Compiled with those flags for this file only; called only where the CPU has them.
#include "kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BF16__)
#include <immintrin.h>

namespace adtrie {
namespace {

constexpr int kMostRows = 12;   // rows of a tile: with two panels, 24 registers of sums
constexpr int kStepPanels = 4;  // panels that all rows pass over before the next ones, while that many stay near
constexpr int64_t kNearBytes = 512 << 10;  // half of a second-level cache, the rest is for the rows

inline __m512bh pairs_of_panel(const uint8_t* p) { return (__m512bh)_mm512_loadu_si512(p); }

inline __m512bh pair_of_row(const uint8_t* p) {
  int32_t pair;
  std::memcpy(&pair, p, sizeof pair);
  return (__m512bh)_mm512_set1_epi32(pair);
}

// R rows times P panels: weights are loaded once for all rows, inputs once for all panels.
template <int R, int P>
void tile(const Panels& w, int panel, const RoundedRows& x, float* y, int64_t ys, bool add) {
  const int64_t bytes = panel_bytes(w.format, w.num_inputs);
  const uint8_t* weights = panel_data(w, panel);
  const uint8_t* inputs = x.data;
  __m512 sums[R][P];
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) sums[r][p] = _mm512_setzero_ps();
  for (int k = 0; k < w.num_inputs; k += 2, weights += 64, inputs += 4) {
    __m512bh column[P];
    for (int p = 0; p < P; ++p) column[p] = pairs_of_panel(weights + p * bytes);
    _Pragma("GCC unroll 12") for (int r = 0; r < R; ++r) {
      const __m512bh row = pair_of_row(inputs + r * x.stride);
      for (int p = 0; p < P; ++p) sums[r][p] = _mm512_dpbf16_ps(sums[r][p], column[p], row);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) {
      float* out = y + r * ys + (panel + p) * kPanel;
      _mm512_storeu_ps(out, add ? _mm512_add_ps(_mm512_loadu_ps(out), sums[r][p]) : sums[r][p]);
    }
}

template <int R>
void tiles(const Panels& w, int begin, int end, const RoundedRows& x, float* y, int64_t ys, bool add) {
  constexpr int P = R <= kMostRows / 2 ? 4 : 2;
  int p = begin;
  for (; p + P <= end; p += P) tile<R, P>(w, p, x, y, ys, add);
  for (; p < end; ++p) tile<R, 1>(w, p, x, y, ys, add);
}

template <int R>
void dispatch_rows(const Panels& w, int begin, int end, const RoundedRows& x, int rows, float* y, int64_t ys,
                   bool add) {
  if constexpr (R > 0) {
    if (rows == R)
      tiles<R>(w, begin, end, x, y, ys, add);
    else
      dispatch_rows<R - 1>(w, begin, end, x, rows, y, ys, add);
  }
}

void gemm_bf16(const Panels& w, int begin, int end, const RoundedRows& x, int rows, float* y, int64_t ys, bool add) {
  const int parts = (rows + kMostRows - 1) / kMostRows;
  const int step = kStepPanels * panel_bytes(w.format, w.num_inputs) <= kNearBytes ? kStepPanels : kStepPanels / 2;
  for (int p = begin; p < end; p += step) {
    const int last = p + step < end ? p + step : end;
    for (int i = 0; i < parts; ++i) {
      const int first = rows * i / parts, next = rows * (i + 1) / parts;
      const RoundedRows from = {x.data + first * x.stride, x.stride};
      dispatch_rows<kMostRows>(w, p, last, from, next - first, y + first * ys, ys, add);
    }
  }
}

void round_row(const float* x, int n, uint8_t* rounded) {
  for (int i = 0; i < n; ++i) {
    const uint16_t nearest = nearest_bf16(x[i]);
    std::memcpy(rounded + 2 * i, &nearest, sizeof nearest);
  }
  if (n % 2) std::memset(rounded + 2 * n, 0, 2);
}

KernelTable with_bfloat16(KernelTable table) {
  table.name = "avx512bf16";
  table.gemm_bf16 = gemm_bf16, table.round_row = round_row, table.rounded_bytes = 2;
  return table;
}

}  // namespace

const KernelTable* avx512bf16_kernels() {
  if (avx512vbmi_kernels() == nullptr) return nullptr;
  static const KernelTable table = with_bfloat16(*avx512vbmi_kernels());
  return &table;
}

}  // namespace adtrie
#else
namespace adtrie {
const KernelTable* avx512bf16_kernels() { return nullptr; }
}  // namespace adtrie
#endif
