// The list of kernels: one function-pointer table per instruction set, chosen once at import.
// Contract shared by all tables:
//  * a row's result never depends on which other rows are in the call (batch-invariant: same operations in the
//    same order per output), so any feeding order of a token tree gives bit-identical scores;
//  * integer parts are exact: |code| <= 255, |x| <= 127, blocks of 32 -> |sum| <= 255*127*32 < 2^21.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace adtrie {

constexpr int kPanel = 16;  // output rows per packed panel
constexpr int kBlock = 32;  // inputs per activation block: one int8 scale and one code sum each

enum class Format : int32_t { kF32 = 0, kQ8 = 1, kQ4 = 2, kBF16 = 3, kS24 = 4, kS14 = 5, kMixed = 6 };

// What the linears of a model are multiplied with. Those whose form does not allow it take floats (linear.h).
enum class Activations : int32_t { kF32 = 0, kI8 = 1, kBF16 = 2 };

// A packed linear [N outputs, K inputs]; N is padded to whole panels with zero rows.
//   kF32:  float   data[panel][K][16]
//   kBF16: uint16  data[panel][K/2][16][2]
//   kQ8:   uint8   data[panel][K/4][16][4]
//   kQ4:   uint8   data[panel][K/8][16][4], low nibble = inputs 0-3 of the eight, high nibble = inputs 4-7
//   kMixed: panels of kQ8, kQ4, kS24 (2:4) or kS14 (1:4) at data + offsets[panel], docs/design/format.md; a panel
//           is never kMixed itself, a whole linear never kS24 or kS14
//   scales, mins: float16 [panel][K/group][16]; mins == nullptr means value = scale * (code - zero)
// Helpers here are static: each instruction set compiles its own, none may reach older machines.
// K is padded inside a panel to whole vectors of 64 bytes or units of 192 (kS24: 32 inputs, kS14: 64).
struct Panels {
  Format format = Format::kF32;
  int32_t num_outputs = 0, num_inputs = 0, num_panels = 0, group = 0, zero = 0;
  bool sparse = false;  // some panel is kS24 or kS14
  const void* data = nullptr;
  const uint16_t* scales = nullptr;
  const uint16_t* mins = nullptr;
  const uint8_t* kept = nullptr;     // kMixed: survivors of four per panel
  const int64_t* offsets = nullptr;  // kMixed: bytes from data
};

static inline int64_t panel_bytes(Format format, int num_inputs) {
  const int64_t k = num_inputs;
  switch (format) {
    case Format::kF32: return k * 64;
    case Format::kBF16: return (k + 1) / 2 * 64;
    case Format::kQ8: return (k + 3) / 4 * 64;
    case Format::kQ4: return (k + 7) / 8 * 64;
    case Format::kS24: return (k + 31) / 32 * 192;
    default: return (k + 63) / 64 * 192;
  }
}

static inline Format panel_format(const Panels& w, int panel) {
  if (w.format != Format::kMixed) return w.format;
  const Format dense = w.zero == 8 ? Format::kQ4 : Format::kQ8;
  const Format by_kept[] = {dense, Format::kS14, Format::kS24, dense, dense};  // no branch: nobody could foresee it
  return by_kept[w.kept[panel]];
}

static inline const uint8_t* panel_data(const Panels& w, int panel) {
  return static_cast<const uint8_t*>(w.data) +
         (w.offsets ? w.offsets[panel] : panel * panel_bytes(w.format, w.num_inputs));
}

// Where the scales (and minima) of a panel begin.
static inline int64_t scales_at(const Panels& w, int panel) {
  return w.group > 0 ? static_cast<int64_t>(panel) * (w.num_inputs / w.group) * kPanel : 0;
}

// Weights that are read next, for who fetches them; null where nothing is known.
struct Reading {
  const uint8_t* codes = nullptr;
  const uint16_t* scales = nullptr;
};

static inline Reading reading(const Panels& w, int panel) {
  return {panel_data(w, panel), w.scales ? w.scales + scales_at(w, panel) : nullptr};
}

// The same weights from panel `begin` on.
static inline Panels panels_from(Panels w, int begin) {
  const int64_t halves = scales_at(w, begin);
  if (w.offsets) {
    w.offsets += begin, w.kept += begin;
  } else {
    w.data = panel_data(w, begin);
  }
  if (w.scales) w.scales += halves;
  if (w.mins) w.mins += halves;
  w.num_panels -= begin;
  return w;
}

// The nearest bfloat16, ties to even. Zero below the normal range: products of bfloat16 take such values as zero.
static inline uint16_t nearest_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return static_cast<uint16_t>(bits & 0x7f800000u ? nearest : 0);
}

// 8-bit activations: codes int8[rows, K], scales float[rows, K/32], sums int32[rows, K/32] (sum of codes).
// gather uint8[rows, 2, K] and kGatherSlack bytes, for sparse panels only: codes + 128 in order, then the same with
// every 16 inputs as a transposed 4 x 4 table (input 4 b + p at 4 p + b).
constexpr int kGatherSlack = 64;  // may be read behind the last row
struct Int8Rows {
  const int8_t* codes;
  const float* scales;
  const int32_t* sums;
  int64_t stride;  // K
  const uint8_t* gather;
};

// bfloat16 activations: rows of `stride` bytes, as round_row of the same table made them.
struct RoundedRows {
  const uint8_t* data;
  int64_t stride;
};

// Contiguous cache rows on the path from the root to a row, root first.
struct Run {
  int32_t start, length;
};

constexpr int kMaxQueries = 8;  // queries of one attention tile: two vectors of sums of each fit the registers
constexpr int kGroupRows = 16;  // rows whose apart keys are scored in common, one in each lane

// One key of each row at most, of one block of 16 cache rows: row r of the group has key lane[r] at place at[r] of its
// path behind what the group shares, -1: none (and lane 0).
struct TailPass {
  int32_t lane[kGroupRows], at[kGroupRows];
};

// A block of 16 cache rows in which rows [first_row, last_row) of a group have keys apart, and its passes.
struct TailBlock {
  int32_t number, first_row, last_row, first_pass, num_passes;
};

// Rows of one forward that begin at the same cache row, and what of their paths they do not share.
struct RowGroup {
  int32_t begin, end;   // rows of the forward, at most kGroupRows
  int32_t shared;       // keys of the first run that all of them have
  int32_t tail_stride;  // longest path without what is shared, rounded up to 16
  int32_t first_block, num_blocks;
};

// Queries of rows [begin, end) of a group that share one key/value head, `heads` for each row; d % 16 == 0.
// q of row r and head h: q + r * q_stride + h * d, already scaled; out likewise with [heads][d] for each row from begin on.
// keys [row/16][d][16]; values [row][d]. Scratch: scores [kMaxQueries, ld], ld >= the longest path rounded up to 16;
// tails [kGroupRows * heads, tail_stride]; turned [heads, d, kGroupRows].
struct AttendTile {
  int begin, end, heads, d;
  const float* q;
  int64_t q_stride;
  float* out;
  const Run* runs;
  const int* run_ptr;  // runs of row r: run_ptr[r] to run_ptr[r + 1]
  int shared, tail_stride;
  const TailBlock* blocks;
  int num_blocks;
  const TailPass* passes;  // of all blocks
  const float* keys;
  const float* values;
  const float* next_keys;  // read after these values
  float *scores, *tails, *turned;
  int64_t ld;
};

constexpr int64_t kPeakRound = 2 * 12 * 64;

// How a quantized linear is multiplied; the result does not depend on it. Instruction sets ignore what they lack.
struct GemmPlan {
  bool widen = false;   // codes widened to bytes once for all rows; false: decoded in registers for each few rows
  int32_t panels = 6;   // panels that all rows pass over before the next ones (not widened); 1: few rows read one stream
  int32_t ahead = 1;    // so many times that far ahead weights are fetched; 0: not
  bool near = false;    // into the first-level cache (not widened), which has room for them on some processors only
};

struct KernelTable {
  const char* name;
  // y[r, 16*p + j] (+)= sum_k W[16*p + j, k] x[r, k]  for panels p in [begin, end)
  // gemm_f32 takes kF32 and kBF16, the others every quantized form. next: weights that will be read after these, or
  // null; their first panels may be fetched.
  void (*gemm_f32)(const Panels&, int begin, int end, const float* x, int64_t x_stride, int rows, float* y,
                   int64_t y_stride, bool add);
  void (*gemm_q_f32)(const Panels&, int begin, int end, const float* x, int64_t x_stride, int rows, float* y,
                     int64_t y_stride, bool add);
  void (*gemm_q_i8)(const Panels&, int begin, int end, const Int8Rows& x, int rows, float* y, int64_t y_stride,
                    bool add, const GemmPlan&, Reading next);
  // The same of kBF16 and bfloat16 activations. Per two inputs two fused multiply-adds in float32, the second input
  // first: what vdpbf16ps does. So tables agree, where no sum falls below the normal range, which it takes as zero.
  void (*gemm_bf16)(const Panels&, int begin, int end, const RoundedRows& x, int rows, float* y, int64_t y_stride,
                    bool add);
  // n inputs to bfloat16, each in rounded_bytes: two, or four where only floats of such values can be multiplied. An
  // odd n, at the end of a row, is followed by a zero.
  void (*round_row)(const float* x, int n, uint8_t* rounded);
  int rounded_bytes;
  // Both forms of Int8Rows::gather of n inputs, n % 16 == 0.
  void (*gather_row)(const int8_t* codes, int n, uint8_t* plain, uint8_t* turned);
  // Per block of 32: scale = max|x| / 127, code = round-half-even(x * 127 / max|x|).
  void (*quantize_row)(const float* x, int n, int8_t* codes, float* scales, int32_t* sums);
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int n, float* y);
  // Rotary embedding of one head: (a, b) of the halves -> (a cos - b sin, b cos + a sin) * scale, no fused sums.
  void (*rotate)(const float* head, const float* cosine, const float* sine, int half, float scale, float* out);
  void (*swiglu)(const float* gate, const float* up, int n, float* y);
  // Softmax attention of queries over the rows of their paths; heads <= kMaxQueries.
  void (*attend)(const AttendTile&);
  // max and sum(exp(x - max)) of x[0..n).
  void (*log_sum_exp)(const float* x, int n, float* max, float* sum);
  // Bytes read per call are len; returns a checksum so that the read cannot be optimised away (bandwidth probe).
  uint64_t (*read_bytes)(const void* data, size_t len);
  // `rounds` times kPeakRound multiplications and additions of bytes from registers (peak probe); a checksum.
  uint64_t (*multiply_bytes)(int64_t rounds);
};

const KernelTable& scalar_kernels();
const KernelTable* avx2_kernels();    // nullptr where not compiled in
const KernelTable* avx512_kernels();  // needs F, BW, VL, DQ, VNNI
const KernelTable* avx512vbmi_kernels();  // the same and VBMI
const KernelTable* avx512bf16_kernels();  // the same and BF16

// Tables this CPU can run, the best first; the last is scalar.
std::vector<const KernelTable*> available_kernels();
// Best table this CPU can run, or the one named ("scalar" | "avx2" | "avx512" | "avx512vbmi" | "avx512bf16"); nullptr
// if it cannot run here.
const KernelTable* select_kernels(const char* name);

}  // namespace adtrie
