// Calls the right kernel for a packed linear and the activations it wants. Shared by forward and head.
#pragma once
#include <vector>

#include "kernels.h"
#include "lines.h"

namespace adtrie {

inline int padded(int columns) { return (columns + kPanel - 1) / kPanel * kPanel; }

// 8-bit form of activation rows; their width (a multiple of 32) is the caller's to remember.
struct Int8Buffer {
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> sums;
  Lines<uint8_t> gather;  // filled only where a sparse linear wants it

  void resize(int rows, int num_inputs) {
    const size_t cells = static_cast<size_t>(rows) * num_inputs, blocks = cells / kBlock;
    if (codes.size() < cells) codes.resize(cells);
    if (scales.size() < blocks) scales.resize(blocks), sums.resize(blocks);
  }
  void resize_gather(int rows, int num_inputs) {
    const size_t bytes = static_cast<size_t>(rows) * num_inputs * 2 + kGatherSlack;
    if (gather.size() < bytes) gather.resize(bytes);
  }
  // Columns [begin, begin + count) of a row, whole blocks.
  void quantize_part(const KernelTable& kernels, int r, const float* x, int width, int begin, int count, bool sparse) {
    const int64_t block = static_cast<int64_t>(r) * (width / kBlock) + begin / kBlock;
    const int64_t at = static_cast<int64_t>(r) * width + begin;
    kernels.quantize_row(x, count, codes.data() + at, scales.data() + block, sums.data() + block);
    if (!sparse) return;
    uint8_t* plain = gather.data() + static_cast<int64_t>(r) * width * 2 + begin;
    kernels.gather_row(codes.data() + at, count, plain, plain + width);
  }
  Int8Rows from(int first, int width) const {
    const int64_t blocks = width / kBlock;
    return {codes.data() + static_cast<int64_t>(first) * width, scales.data() + first * blocks,
            sums.data() + first * blocks, width,
            gather.empty() ? nullptr : gather.data() + 2 * static_cast<int64_t>(first) * width};
  }
};

// bfloat16 form of activation rows, as gemm_bf16 of the same kernels takes it.
struct RoundedBuffer {
  std::vector<uint8_t> data;

  static int64_t row_bytes(const KernelTable& kernels, int width) {
    return static_cast<int64_t>(width + width % 2) * kernels.rounded_bytes;
  }
  void resize(const KernelTable& kernels, int rows, int width) {
    const size_t bytes = static_cast<size_t>(rows) * row_bytes(kernels, width);
    if (data.size() < bytes) data.resize(bytes);
  }
  // Columns [begin, begin + count) of a row; begin is even.
  void round_part(const KernelTable& kernels, int r, const float* x, int width, int begin, int count) {
    const int64_t at = static_cast<int64_t>(begin) * kernels.rounded_bytes;
    kernels.round_row(x, count, data.data() + r * row_bytes(kernels, width) + at);
  }
  RoundedRows from(const KernelTable& kernels, int first, int width) const {
    const int64_t stride = row_bytes(kernels, width);
    return {data.data() + first * stride, stride};
  }
};

// Activation rows in the form that linears take in place of floats.
struct PreparedRows {
  Int8Buffer int8;
  RoundedBuffer rounded;

  void resize(const KernelTable& kernels, Activations form, int rows, int width, bool gather) {
    if (form == Activations::kBF16) rounded.resize(kernels, rows, width);
    if (form != Activations::kI8) return;
    int8.resize(rows, width);
    if (gather) int8.resize_gather(rows, width);
  }
  // Columns [begin, begin + count) of a row: whole blocks for 8 bits, an even begin for bfloat16.
  void prepare_part(const KernelTable& kernels, Activations form, int r, const float* x, int width, int begin,
                    int count, bool sparse) {
    if (form == Activations::kI8) int8.quantize_part(kernels, r, x, width, begin, count, sparse);
    if (form == Activations::kBF16) rounded.round_part(kernels, r, x, width, begin, count);
  }
  void prepare(const KernelTable& kernels, Activations form, int r, const float* x, int width, bool sparse) {
    prepare_part(kernels, form, r, x, width, 0, width, sparse);
  }
};

// Input rows of a linear in both forms; `prepared` is filled only where a linear wants it.
struct Inputs {
  const float* values;
  int64_t stride;
  const PreparedRows* prepared;
};

// What a linear takes in a model of such activations.
inline Activations taken(const Panels& w, Activations activations) {
  const bool blocks = w.group > 0 && w.group % kBlock == 0;
  const bool allowed = activations == Activations::kI8 ? blocks : w.format == Format::kBF16;
  return allowed ? activations : Activations::kF32;
}

inline bool wants_prepared(const Panels& w, Activations activations) {
  return taken(w, activations) != Activations::kF32;
}

// y[r, 16*p...] (+)= W x for panels [begin, end) of w and `rows` input rows from `first`.
inline void multiply(const KernelTable& kernels, const Panels& w, int begin, int end, const Inputs& x,
                     Activations activations, int first, int rows, float* y, int64_t y_stride, bool add,
                     const GemmPlan& plan, Reading next = {}) {
  if (begin >= end || rows <= 0) return;
  const Activations form = taken(w, activations);
  if (form == Activations::kI8)
    kernels.gemm_q_i8(w, begin, end, x.prepared->int8.from(first, w.num_inputs), rows, y, y_stride, add, plan, next);
  else if (form == Activations::kBF16)
    kernels.gemm_bf16(w, begin, end, x.prepared->rounded.from(kernels, first, w.num_inputs), rows, y, y_stride, add);
  else if (w.group == 0)
    kernels.gemm_f32(w, begin, end, x.values + first * x.stride, x.stride, rows, y, y_stride, add);
  else
    kernels.gemm_q_f32(w, begin, end, x.values + first * x.stride, x.stride, rows, y, y_stride, add);
}

}  // namespace adtrie
