// How rows are turned where no shuffles of whole registers do it.
#pragma once

namespace adtrie {
namespace {

// 16 rows of 16 floats, turned: out[c * 16 + r] = rows[r][at + c].
inline void vturn(const float* const* rows, int at, float* out) {
  for (int r = 0; r < 16; ++r)
    for (int c = 0; c < 16; ++c) out[c * 16 + r] = rows[r][at + c];
}

}  // namespace
}  // namespace adtrie
