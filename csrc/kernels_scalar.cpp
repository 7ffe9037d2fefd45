// Plain C++: the reference for the other tables, the fallback everywhere, the baseline of benchmarks.
#include "kernels.h"
#include "turn.h"

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
inline vf vquotient(vf a, vf b) { return a / b; }
inline vf vmax(vf a, vf b) { return a > b ? a : b; }
inline vf vmin(vf a, vf b) { return a < b ? a : b; }
inline vf vfma(vf a, vf b, vf c) { return a * b + c; }
inline float vsum(vf a) { return a; }
inline float vtop(vf a) { return a; }
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

using vi = int32_t;
inline vi vlanes(const int32_t* lanes) { return *lanes; }
inline vf vpick(const float* p, vi lane) { return p[lane]; }

// Code of one output: byte j of its four, low (0) or high (1) nibble or the whole byte (-1), minus zero.
inline vf vcode(const uint8_t* p, int j, int nibble, int zero) {
  const int code = nibble < 0 ? p[j] : nibble ? p[j] >> 4 : p[j] & 15;
  return static_cast<float>(code - zero);
}

inline vf vbf16(const uint8_t* p, int odd) {
  uint32_t word;
  std::memcpy(&word, p, 4);
  word = odd ? word & 0xffff0000u : word << 16;
  float out;
  std::memcpy(&out, &word, 4);
  return out;
}

}  // namespace
}  // namespace adtrie

#include "kernels_float.h"
#include "bf16_as_floats.h"
#include "attention.h"

namespace adtrie {
namespace {

// Sum of code - zero (or code where there are minima) times activation code over one block of 32 inputs.
inline int block_dot(const uint8_t* panel, Format form, int zero, int lane, int block, const int8_t* x) {
  int sum = 0;
  if (form == Format::kQ8 || form == Format::kQ4) {
    for (int k = block * kBlock; k < (block + 1) * kBlock; ++k) sum += value_at(panel, form, zero, lane, k) * x[k];
    return sum;
  }
  const int kept = form == Format::kS24 ? 2 : 1, count = kBlock / 4 * kept;
  for (int number = block * count; number < (block + 1) * count; ++number) {
    const Survivor found = survivor(panel, lane, number);
    sum += found.value * x[number / kept * 4 + found.position];
  }
  return sum;
}

// The definition of an 8-bit product: exact integers per block, one float sum per group, then over groups.
// std::fma keeps the float part bit-identical to the vector tables, which have no other way to add a product.
inline float dot_i8(const Panels& w, Format form, const Stripe& stripe, int lane, const Int8Rows& x, int row) {
  const int per_group = w.group / kBlock, blocks = w.num_inputs / kBlock;
  float total = 0.0f;
  for (int g = 0; g < w.num_inputs / w.group; ++g) {
    float part = 0.0f, sum = 0.0f;
    for (int b = g * per_group; b < (g + 1) * per_group; ++b) {
      const int64_t cell = static_cast<int64_t>(row) * blocks + b;
      const int dot = block_dot(stripe.codes, form, w.mins ? 0 : w.zero, lane, b, x.codes + row * x.stride);
      part = std::fma(static_cast<float>(dot), x.scales[cell], part);
      sum = std::fma(static_cast<float>(x.sums[cell]), x.scales[cell], sum);
    }
    total = std::fma(part, half_to_float(stripe.scales[g * kPanel + lane]), total);
    if (w.mins) total = std::fma(half_to_float(stripe.mins[g * kPanel + lane]), sum, total);
  }
  return total;
}

void gemm_q_i8(const Panels& w, int begin, int end, const Int8Rows& x, int rows, float* y, int64_t ys, bool add,
               const GemmPlan&, Reading) {
  for_each_form(w, begin, end, {}, [&](const Series& series) {
    const auto& [form, stripes, count, next] = series;
    for (int i = 0; i < count; ++i)
      for (int r = 0; r < rows; ++r)
        for (int lane = 0; lane < kPanel; ++lane) {
          float* out = y + r * ys + stripes[i].column + lane;
          const float total = dot_i8(w, form, stripes[i], lane, x, r);
          *out = add ? *out + total : total;
        }
  });
}

void gather_row(const int8_t* codes, int n, uint8_t* plain, uint8_t* turned) {
  for (int k = 0; k < n; ++k)
    plain[k] = turned[k / 16 * 16 + k % 4 * 4 + k % 16 / 4] = static_cast<uint8_t>(codes[k] + 128);
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

uint64_t multiply_bytes(int64_t rounds) {
  uint32_t sums[12] = {};
  volatile uint32_t code = 3;
  for (int64_t r = 0; r < rounds; ++r) {
    const uint32_t value = code;
    for (int k = 0; k < 64; ++k)
      for (uint32_t& sum : sums) sum += value * static_cast<uint32_t>(k);
  }
  uint64_t out = 0;
  for (uint32_t sum : sums) out ^= sum;
  return out;
}

}  // namespace

const KernelTable& scalar_kernels() {
  static const KernelTable table = {"scalar",   gemm_f32, gemm_q_f32, gemm_q_i8, gemm_bf16,   round_row,  4,
                                    gather_row, quantize_row, rms_norm,   rotate,    swiglu,      attend,
                                    log_sum_exp, read_bytes, multiply_bytes};
  return table;
}

}  // namespace adtrie
