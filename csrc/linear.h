// Calls the right kernel for a packed linear and the activations it wants. Shared by forward and head.
#pragma once
#include <vector>

#include "kernels.h"

namespace adtrie {

inline int padded(int columns) { return (columns + kPanel - 1) / kPanel * kPanel; }

// 8-bit form of activation rows; their width (a multiple of 32) is the caller's to remember.
struct Int8Buffer {
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> sums;
  std::vector<uint8_t> gather;  // filled only where a sparse linear wants it

  void resize(int rows, int num_inputs) {
    const size_t cells = static_cast<size_t>(rows) * num_inputs, blocks = cells / kBlock;
    if (codes.size() < cells) codes.resize(cells);
    if (scales.size() < blocks) scales.resize(blocks), sums.resize(blocks);
  }
  void resize_gather(int rows, int num_inputs) {
    const size_t bytes = static_cast<size_t>(rows) * num_inputs * 2 + kGatherSlack;
    if (gather.size() < bytes) gather.resize(bytes);
  }
  void quantize(const KernelTable& kernels, int r, const float* x, int width, bool sparse) {
    quantize_part(kernels, r, x, width, 0, width, sparse);
  }
  // The same of columns [begin, begin + count) of a row, whole blocks.
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

// Input rows of a linear in both forms; int8 is filled only where a linear wants it.
struct Inputs {
  const float* values;
  int64_t stride;
  const Int8Buffer* int8;
};

inline bool wants_int8(const Panels& w, bool int8_activations) {
  return int8_activations && w.group > 0 && w.group % kBlock == 0;
}

// y[r, 16*p...] (+)= W x for panels [begin, end) of w and `rows` input rows from `first`.
inline void multiply(const KernelTable& kernels, const Panels& w, int begin, int end, const Inputs& x, bool int8,
                     int first, int rows, float* y, int64_t y_stride, bool add, const GemmPlan& plan,
                     const void* next = nullptr) {
  if (begin >= end || rows <= 0) return;
  if (wants_int8(w, int8))
    kernels.gemm_q_i8(w, begin, end, x.int8->from(first, w.num_inputs), rows, y, y_stride, add, plan,
                      next);
  else if (w.group == 0)
    kernels.gemm_f32(w, begin, end, x.values + first * x.stride, x.stride, rows, y, y_stride, add);
  else
    kernels.gemm_q_f32(w, begin, end, x.values + first * x.stride, x.stride, rows, y, y_stride, add);
}

}  // namespace adtrie
