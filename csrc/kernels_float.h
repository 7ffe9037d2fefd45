// Float kernels written once over a tiny vector vocabulary (vf, W, vload, ...) that each instruction-set file
// defines before including this. Everything is in an anonymous namespace: nothing compiled here for a newer
// instruction set can be picked by the linker for older machines.
#include <cfloat>
#include <cmath>
#include <cstring>

#include "stream.h"

namespace adtrie {
namespace {

// exp(x) for x <= 88, relative error at most 2.2e-7 from -20 on (two units in the last place) and 4.1e-7 below;
// below -87 gives about 1e-38, not 0. The polynomial is that of degree 5 of least relative error over half of log 2
// to either side, with 1 + r to begin with.
inline vf vexp(vf x) {
  x = vmax(x, vset(-87.0f));
  const vf n = vround(vmul(x, vset(1.44269504f)));
  const vf r = vfma(n, vset(-0.693147181f), x);
  vf p = vset(0.008312501f);
  p = vfma(p, r, vset(0.04189033f));
  p = vfma(p, r, vset(0.16667116f));
  p = vfma(p, r, vset(0.4999923f));
  p = vfma(p, r, vset(1.0f));
  p = vfma(p, r, vset(1.0f));
  return vscale2(p, n);
}

inline vf vload_part(const float* x, int n, float fill) {
  float lanes[W];
  for (int i = 0; i < W; ++i) lanes[i] = i < n ? x[i] : fill;
  return vload(lanes);
}

void rms_norm(const float* x, const float* weight, float epsilon, int n, float* y) {
  vf sum = vset(0.0f);
  int i = 0;
  for (; i + W <= n; i += W) sum = vfma(vload(x + i), vload(x + i), sum);
  float total = vsum(sum);
  for (; i < n; ++i) total += x[i] * x[i];
  const float inverse = 1.0f / std::sqrt(total / static_cast<float>(n) + epsilon);
  const vf scale = vset(inverse);
  for (i = 0; i + W <= n; i += W) vstore(y + i, vmul(vload(weight + i), vmul(vload(x + i), scale)));
  for (; i < n; ++i) y[i] = weight[i] * (x[i] * inverse);
}

void rotate(const float* head, const float* cosine, const float* sine, int half, float scale, float* out) {
  const vf factor = vset(scale);
  int i = 0;
  for (; i + W <= half; i += W) {
    const vf a = vload(head + i), b = vload(head + half + i), c = vload(cosine + i), s = vload(sine + i);
    vstore(out + i, vmul(vsub(vmul(a, c), vmul(b, s)), factor));
    vstore(out + half + i, vmul(vadd(vmul(b, c), vmul(a, s)), factor));
  }
  for (; i < half; ++i) {
    const float a = head[i], b = head[i + half];
    out[i] = (a * cosine[i] - b * sine[i]) * scale;
    out[i + half] = (b * cosine[i] + a * sine[i]) * scale;
  }
}

void swiglu(const float* gate, const float* up, int n, float* y) {
  const vf one = vset(1.0f), zero = vset(0.0f);
  for (int i = 0; i < n; i += W) {  // n is a multiple of 16
    const vf g = vload(gate + i);
    const vf e = vexp(vmin(vsub(zero, g), vset(87.0f)));
    vstore(y + i, vmul(vquotient(g, vadd(one, e)), vload(up + i)));
  }
}

void log_sum_exp(const float* x, int n, float* max, float* sum) {
  vf m = vset(-FLT_MAX);
  int i = 0;
  for (; i + W <= n; i += W) m = vmax(m, vload(x + i));
  if (i < n) m = vmax(m, vload_part(x + i, n - i, -FLT_MAX));
  const float top = vtop(m);
  const vf shift = vset(top);
  vf total = vset(0.0f);
  for (i = 0; i + W <= n; i += W) total = vadd(total, vexp(vsub(vload(x + i), shift)));
  float rest = 0.0f;
  for (; i < n; ++i) rest += std::exp(x[i] - top);
  *max = top;
  *sum = vsum(total) + rest;
}

constexpr int kParts = kPanel / W;  // vectors per panel of 16

// ---- float32 weights -------------------------------------------------------------------------------------------
template <int R, int P>
void tile_f32(const Panels& w, int panel, const float* x, int64_t x_stride, float* y, int64_t y_stride, bool add) {
  const int64_t panel_size = static_cast<int64_t>(w.num_inputs) * kPanel;
  const float* data = static_cast<const float*>(w.data) + panel * panel_size;
  vf acc[R][P][kParts];
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p)
      for (int i = 0; i < kParts; ++i) acc[r][p][i] = vset(0.0f);
  for (int k = 0; k < w.num_inputs; ++k)
    for (int p = 0; p < P; ++p)
      for (int i = 0; i < kParts; ++i) {
        const vf weight = vload(data + p * panel_size + static_cast<int64_t>(k) * kPanel + i * W);
        for (int r = 0; r < R; ++r) acc[r][p][i] = vfma(weight, vset(x[r * x_stride + k]), acc[r][p][i]);
      }
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p)
      for (int i = 0; i < kParts; ++i) {
        float* out = y + r * y_stride + (panel + p) * kPanel + i * W;
        vstore(out, add ? vadd(vload(out), acc[r][p][i]) : acc[r][p][i]);
      }
}

// ---- bfloat16 weights: two inputs per 32-bit lane, widened by a shift or a mask; the second first, as gemm_bf16 -----
template <int R, int P>
void tile_bf16(const Panels& w, int panel, const float* x, int64_t x_stride, float* y, int64_t y_stride, bool add) {
  const int64_t bytes = panel_bytes(w.format, w.num_inputs);
  const uint8_t* data = panel_data(w, panel);
  vf acc[R][P][kParts];
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p)
      for (int i = 0; i < kParts; ++i) acc[r][p][i] = vset(0.0f);
  for (int k = 0; k < w.num_inputs; k += 2, data += 64) {
    const int odd = k + 1 < w.num_inputs ? k + 1 : k;  // past the last input the weight is zero
    for (int p = 0; p < P; ++p)
      for (int i = 0; i < kParts; ++i) {
        const vf first = vbf16(data + p * bytes + i * W * 4, 0), second = vbf16(data + p * bytes + i * W * 4, 1);
        for (int r = 0; r < R; ++r) {
          acc[r][p][i] = vfma(second, vset(x[r * x_stride + odd]), acc[r][p][i]);
          acc[r][p][i] = vfma(first, vset(x[r * x_stride + k]), acc[r][p][i]);
        }
      }
  }
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p)
      for (int i = 0; i < kParts; ++i) {
        float* out = y + r * y_stride + (panel + p) * kPanel + i * W;
        vstore(out, add ? vadd(vload(out), acc[r][p][i]) : acc[r][p][i]);
      }
}

// ---- quantized weights, float activations: decode in registers -------------------------------------------------
constexpr int kDecoded = 64;  // inputs decoded at a time where the form has no decoder in registers

// Values (code - zero) of `count` inputs from `first`, to out[count][16].
inline void decode_inputs(const uint8_t* panel, Format form, int zero, int first, int count, float* out) {
  const int kept = form == Format::kS24 ? 2 : 1;
  std::memset(out, 0, static_cast<size_t>(count) * kPanel * sizeof(float));
  for (int lane = 0; lane < kPanel; ++lane) {
    if (form == Format::kQ8 || form == Format::kQ4) {
      for (int k = 0; k < count; ++k)
        out[k * kPanel + lane] = static_cast<float>(value_at(panel, form, zero, lane, first + k));
      continue;
    }
    for (int number = first / 4 * kept; number < (first + count + 3) / 4 * kept; ++number) {
      const Survivor found = survivor(panel, lane, number);
      const int k = number / kept * 4 + found.position - first;
      if (k >= 0 && k < count) out[k * kPanel + lane] = static_cast<float>(found.value);
    }
  }
}

// acc[r][i] += values of inputs [begin, end) times x, in ascending order of inputs.
template <int R>
void add_decoded(const uint8_t* panel, Format form, int zero, int begin, int end, const float* x, int64_t x_stride,
                 vf acc[R][kParts]) {
  float values[kDecoded * kPanel];
  for (int k = begin; k < end; k += kDecoded) {
    const int count = end - k < kDecoded ? end - k : kDecoded;
    decode_inputs(panel, form, zero, k, count, values);
    for (int j = 0; j < count; ++j)
      for (int i = 0; i < kParts; ++i)
        for (int r = 0; r < R; ++r)
          acc[r][i] = vfma(vload(values + j * kPanel + i * W), vset(x[r * x_stride + k + j]), acc[r][i]);
  }
}

// The same for dense panels whose groups are whole vectors of 64 bytes: four input codes per output and vector.
template <int R>
void add_vectors(const uint8_t* codes, bool nibbles, int zero, int begin, int end, const float* x, int64_t x_stride,
                 vf acc[R][kParts]) {
  const int step = nibbles ? 8 : 4;
  codes += begin / step * 64;
  for (int k = begin; k < end; k += step, codes += 64)
    for (int i = 0; i < kParts; ++i)
      for (int j = 0; j < step; ++j) {
        const vf value = vcode(codes + i * W * 4, j % 4, nibbles ? j / 4 : -1, zero);
        for (int r = 0; r < R; ++r) acc[r][i] = vfma(value, vset(x[r * x_stride + k + j]), acc[r][i]);
      }
}

template <int R>
void tile_q_f32(const Panels& w, Format form, const Stripe& stripe, const float* x, int64_t x_stride, float* y,
                int64_t y_stride, bool add) {
  const bool nibbles = form == Format::kQ4;
  const bool vectors = (nibbles || form == Format::kQ8) && w.group % (nibbles ? 8 : 4) == 0;
  const int zero = w.mins ? 0 : w.zero;
  vf total[R][kParts];
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < kParts; ++i) total[r][i] = vset(0.0f);
  for (int g = 0; g < w.num_inputs / w.group; ++g) {
    const int begin = g * w.group, end = begin + w.group;
    vf acc[R][kParts];
    for (int r = 0; r < R; ++r)
      for (int i = 0; i < kParts; ++i) acc[r][i] = vset(0.0f);
    if (vectors)
      add_vectors<R>(stripe.codes, nibbles, zero, begin, end, x, x_stride, acc);
    else
      add_decoded<R>(stripe.codes, form, zero, begin, end, x, x_stride, acc);
    for (int i = 0; i < kParts; ++i) {
      const vf scale = vhalf(stripe.scales + g * kPanel + i * W);
      for (int r = 0; r < R; ++r) total[r][i] = vfma(acc[r][i], scale, total[r][i]);
    }
    if (w.mins)
      for (int r = 0; r < R; ++r) {
        float sum = 0.0f;
        for (int k = begin; k < end; ++k) sum += x[r * x_stride + k];
        for (int i = 0; i < kParts; ++i)
          total[r][i] = vfma(vhalf(stripe.mins + g * kPanel + i * W), vset(sum), total[r][i]);
      }
  }
  for (int r = 0; r < R; ++r)
    for (int i = 0; i < kParts; ++i) {
      float* out = y + r * y_stride + stripe.column + i * W;
      vstore(out, add ? vadd(vload(out), total[r][i]) : total[r][i]);
    }
}

constexpr int kFloatRows = W == 16 ? 6 : W == 8 ? 2 : 1;
constexpr int kFloatPanels = W == 16 ? 2 : 1;

template <int R>
void rows_f32(const Panels& w, int begin, int end, const float* x, int64_t xs, float* y, int64_t ys, bool add) {
  constexpr int P = R == 1 ? 2 * kFloatPanels : kFloatPanels;
  const bool half = w.format == Format::kBF16;
  int p = begin;
  for (; p + P <= end; p += P) (half ? tile_bf16<R, P> : tile_f32<R, P>)(w, p, x, xs, y, ys, add);
  for (; p < end; ++p) (half ? tile_bf16<R, 1> : tile_f32<R, 1>)(w, p, x, xs, y, ys, add);
}

// Panels stay in cache across row tiles: a few panels at a time, all rows over them.
template <int R>
void dispatch_f32(const Panels& w, int begin, int end, const float* x, int64_t xs, int rows, float* y, int64_t ys,
                  bool add) {
  if constexpr (R > 0) {
    if (rows == R)
      rows_f32<R>(w, begin, end, x, xs, y, ys, add);
    else
      dispatch_f32<R - 1>(w, begin, end, x, xs, rows, y, ys, add);
  }
}

void gemm_f32(const Panels& w, int begin, int end, const float* x, int64_t xs, int rows, float* y, int64_t ys,
              bool add) {
  constexpr int step = 4;
  const int tiles = (rows + kFloatRows - 1) / kFloatRows;
  for (int p = begin; p < end; p += step)
    for (int t = 0; t < tiles; ++t) {
      const int r = rows * t / tiles, next = rows * (t + 1) / tiles;
      dispatch_f32<kFloatRows>(w, p, p + step < end ? p + step : end, x + r * xs, xs, next - r, y + r * ys, ys, add);
    }
}

template <int R>
void dispatch_q_f32(const Panels& w, Format form, const Stripe& stripe, const float* x, int64_t xs, int rows, float* y,
                    int64_t ys, bool add) {
  if constexpr (R > 0) {
    if (rows == R)
      tile_q_f32<R>(w, form, stripe, x, xs, y, ys, add);
    else
      dispatch_q_f32<R - 1>(w, form, stripe, x, xs, rows, y, ys, add);
  }
}

void gemm_q_f32(const Panels& w, int begin, int end, const float* x, int64_t xs, int rows, float* y, int64_t ys,
                bool add) {
  for_each_form(w, begin, end, {}, [&](const Series& series) {
    const auto& [form, stripes, count, next] = series;
    for (int i = 0; i < count; ++i)
      for (int r = 0; r < rows; r += kFloatRows)
        dispatch_q_f32<kFloatRows>(w, form, stripes[i], x + r * xs, xs, rows - r < kFloatRows ? rows - r : kFloatRows,
                                   y + r * ys, ys, add);
  });
}

}  // namespace
}  // namespace adtrie
