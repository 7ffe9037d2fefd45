// Plain C++: the reference for the other tables, the fallback everywhere, the baseline of benchmarks.
#include "kernels.h"

#include <cmath>
#include <cstring>

namespace adtrie {
namespace {

using vf = float;
constexpr int W = 1;
inline vf vset(float x) { return x; }
inline vf vload(const float* p) { return *p; }
inline void vstore(float* p, vf v) { *p = v; }
inline vf vadd(vf a, vf b) { return a + b; }
inline vf vsub(vf a, vf b) { return a - b; }
inline vf vmul(vf a, vf b) { return a * b; }
inline vf vdiv(vf a, vf b) { return a / b; }
inline vf vmax(vf a, vf b) { return a > b ? a : b; }
inline vf vmin(vf a, vf b) { return a < b ? a : b; }
inline vf vfma(vf a, vf b, vf c) { return a * b + c; }
inline vf vround(vf a) { return std::nearbyint(a); }
inline vf vscale2(vf a, vf n) { return std::ldexp(a, static_cast<int>(n)); }

inline float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
    return sign ? -magnitude : magnitude;
  }
  const uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}
inline vf vhalf(const uint16_t* p) { return half_to_float(*p); }

// Code of one output: byte j of its four, low (0) or high (1) nibble or the whole byte (-1), minus zero.
inline vf vcode(const uint8_t* p, int j, int nibble, int zero) {
  const int code = nibble < 0 ? p[j] : nibble ? p[j] >> 4 : p[j] & 15;
  return static_cast<float>(code - zero);
}

}  // namespace
}  // namespace adtrie

#include "kernels_float.h"

namespace adtrie {
namespace {

inline int code_at(const uint8_t* codes, bool nibbles, int k, int lane) {
  if (!nibbles) return codes[(k / 4) * 64 + lane * 4 + k % 4];
  const uint8_t byte = codes[(k / 8) * 64 + lane * 4 + k % 4];
  return k % 8 < 4 ? byte & 15 : byte >> 4;
}

// std::fma keeps the float part bit-identical to the vector tables, which have no other way to add a product.
void gemm_q_i8(const Panels& w, int begin, int end, const Int8Rows& x, int rows, float* y, int64_t ys, bool add) {
  const bool nibbles = w.format == Format::kQ4;
  const int blocks = w.num_inputs / kBlock, per_group = w.group / kBlock, groups = w.num_inputs / w.group;
  const int64_t panel_bytes = static_cast<int64_t>(w.num_inputs) * kPanel / (nibbles ? 2 : 1);
  for (int p = begin; p < end; ++p)
    for (int r = 0; r < rows; ++r)
      for (int lane = 0; lane < kPanel; ++lane) {
        const uint8_t* codes = static_cast<const uint8_t*>(w.data) + p * panel_bytes;
        float total = 0.0f;
        for (int b = 0; b < blocks; ++b) {
          const int sum = x.sums[r * blocks + b];
          const float step = x.scales[r * blocks + b];
          int acc = w.mins ? 0 : -w.zero * sum;
          for (int k = b * kBlock; k < (b + 1) * kBlock; ++k)
            acc += code_at(codes, nibbles, k, lane) * x.codes[r * x.stride + k];
          const int64_t at = (static_cast<int64_t>(p) * groups + b / per_group) * kPanel + lane;
          total = std::fma(static_cast<float>(acc), half_to_float(w.scales[at]) * step, total);
          if (w.mins) total = std::fma(half_to_float(w.mins[at]), step * static_cast<float>(sum), total);
        }
        float* out = y + r * ys + p * kPanel + lane;
        *out = add ? *out + total : total;
      }
}

void quantize_row(const float* x, int n, int8_t* codes, float* scales, int32_t* sums) {
  for (int b = 0; b < n / kBlock; ++b) {
    float top = 0.0f;
    for (int i = 0; i < kBlock; ++i) top = std::fabs(x[b * kBlock + i]) > top ? std::fabs(x[b * kBlock + i]) : top;
    const float inverse = top > 0.0f ? 127.0f / top : 0.0f;
    int32_t sum = 0;
    for (int i = 0; i < kBlock; ++i) {
      const int code = static_cast<int>(std::nearbyint(x[b * kBlock + i] * inverse));
      codes[b * kBlock + i] = static_cast<int8_t>(code);
      sum += code;
    }
    scales[b] = top / 127.0f;
    sums[b] = sum;
  }
}

uint64_t read_bytes(const void* data, size_t len) {
  const uint64_t* words = static_cast<const uint64_t*>(data);
  uint64_t a = 0, b = 0, c = 0, d = 0;
  for (size_t i = 0; i + 4 <= len / 8; i += 4) a ^= words[i], b ^= words[i + 1], c ^= words[i + 2], d ^= words[i + 3];
  return a ^ b ^ c ^ d;
}

}  // namespace

const KernelTable& scalar_kernels() {
  static const KernelTable table = {"scalar", gemm_f32,    gemm_q_f32, gemm_q_i8,   quantize_row,
                                    rms_norm, swiglu,      attend,     log_sum_exp, read_bytes};
  return table;
}

}  // namespace adtrie
