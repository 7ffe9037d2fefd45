// The list of kernels: one function-pointer table per instruction set, chosen once at import.
// Contract shared by all tables:
//  * a row's result never depends on which other rows are in the call (batch-invariant: same operations in the
//    same order per output), so any feeding order of a token tree gives bit-identical scores;
//  * integer parts are exact: |code| <= 255, |x| <= 127, blocks of 32 -> |sum| <= 255*127*32 < 2^21.
#pragma once
#include <cstddef>
#include <cstdint>

namespace adtrie {

constexpr int kPanel = 16;  // output rows per packed panel
constexpr int kBlock = 32;  // inputs per activation block: one int8 scale and one code sum each

enum class Format : int32_t { kF32 = 0, kQ8 = 1, kQ4 = 2 };

// A packed linear [N outputs, K inputs]; N is padded to whole panels with zero rows.
//   kF32: float   data[panel][K][16]
//   kQ8:  uint8   data[panel][K/4][16][4]
//   kQ4:  uint8   data[panel][K/8][16][4], low nibble = inputs 0-3 of the eight, high nibble = inputs 4-7
//   scales, mins: float16 [panel][K/group][16]; mins == nullptr means value = scale * (code - zero)
struct Panels {
  Format format = Format::kF32;
  int32_t num_outputs = 0, num_inputs = 0, num_panels = 0, group = 0, zero = 0;
  const void* data = nullptr;
  const uint16_t* scales = nullptr;
  const uint16_t* mins = nullptr;
};

inline int64_t panel_bytes(const Panels& w) {
  const int64_t cells = static_cast<int64_t>(w.num_inputs) * kPanel;
  return w.format == Format::kF32 ? cells * 4 : w.format == Format::kQ8 ? cells : cells / 2;
}

// The same weights from panel `begin` on.
inline Panels panels_from(Panels w, int begin) {
  const int64_t halves = w.group > 0 ? static_cast<int64_t>(begin) * (w.num_inputs / w.group) * kPanel : 0;
  w.data = static_cast<const char*>(w.data) + begin * panel_bytes(w);
  if (w.scales) w.scales += halves;
  if (w.mins) w.mins += halves;
  w.num_panels -= begin;
  return w;
}

// 8-bit activations: codes int8[rows, K], scales float[rows, K/32], sums int32[rows, K/32] (sum of codes).
struct Int8Rows {
  const int8_t* codes;
  const float* scales;
  const int32_t* sums;
  int64_t stride;  // K
};

// Contiguous cache rows on the path from the root to a row, root first.
struct Run {
  int32_t start, length;
};

constexpr int kMaxQueries = 6;  // queries of one attention tile: that many rows of sums fit the registers

// Queries of a few rows that share one key/value head, rows ascending, `heads` queries per row.
// q[i] [D] already scaled, out[i] [D]; runs[r] is the path of row r; D % 16 == 0.
// keys [row/16][D][16]; values [row][D]; scores: scratch [rows * heads, ld], ld >= path length rounded up to 16.
struct AttendTile {
  int num_rows, heads, d;
  const float* q[kMaxQueries];
  float* out[kMaxQueries];
  const Run* runs[kMaxQueries];
  int num_runs[kMaxQueries];
  const float* keys;
  const float* values;
  float* scores;
  int64_t ld;
};

struct KernelTable {
  const char* name;
  // y[r, 16*p + j] (+)= sum_k W[16*p + j, k] x[r, k]  for panels p in [begin, end)
  void (*gemm_f32)(const Panels&, int begin, int end, const float* x, int64_t x_stride, int rows, float* y,
                   int64_t y_stride, bool add);
  void (*gemm_q_f32)(const Panels&, int begin, int end, const float* x, int64_t x_stride, int rows, float* y,
                     int64_t y_stride, bool add);
  void (*gemm_q_i8)(const Panels&, int begin, int end, const Int8Rows& x, int rows, float* y, int64_t y_stride,
                    bool add);
  // Per block of 32: scale = max|x| / 127, code = round-half-even(x * 127 / max|x|).
  void (*quantize_row)(const float* x, int n, int8_t* codes, float* scales, int32_t* sums);
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int n, float* y);
  void (*swiglu)(const float* gate, const float* up, int n, float* y);
  // Softmax attention of a tile of queries over the rows of their paths; rows * heads <= kMaxQueries.
  void (*attend)(const AttendTile&);
  // max and sum(exp(x - max)) of x[0..n).
  void (*log_sum_exp)(const float* x, int n, float* max, float* sum);
  // Bytes read per call are len; returns a checksum so that the read cannot be optimised away (bandwidth probe).
  uint64_t (*read_bytes)(const void* data, size_t len);
};

const KernelTable& scalar_kernels();
const KernelTable* avx2_kernels();    // nullptr where not compiled in
const KernelTable* avx512_kernels();  // needs F, BW, VL, DQ, VNNI

// Best table this CPU can run, or the one named ("scalar" | "avx2" | "avx512"); nullptr if it cannot run here.
const KernelTable* select_kernels(const char* name);

}  // namespace adtrie
