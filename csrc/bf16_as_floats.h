// bfloat16 activations where no instruction multiplies them: floats of such values, for gemm_f32. Included by
// instruction-set files after kernels_float.h.
#include "kernels.h"

namespace adtrie {
namespace {

void round_row(const float* x, int n, uint8_t* rounded) {
  for (int i = 0; i < n; ++i) {
    const uint32_t bits = static_cast<uint32_t>(nearest_bf16(x[i])) << 16;
    std::memcpy(rounded + 4 * i, &bits, sizeof bits);
  }
  if (n % 2) std::memset(rounded + 4 * n, 0, 4);
}

// A product of two bfloat16 is exact in float32, so vfma rounds once even where it is a multiplication and an addition.
void gemm_bf16(const Panels& w, int begin, int end, const RoundedRows& x, int rows, float* y, int64_t ys, bool add) {
  gemm_f32(w, begin, end, reinterpret_cast<const float*>(x.data), x.stride / 4, rows, y, ys, add);
}

}  // namespace
}  // namespace adtrie
