// Float kernels written once over a tiny vector vocabulary (vf, W, vload, ...) that each instruction-set file
// defines before including this. Everything is in an anonymous namespace: nothing compiled here for a newer
// instruction set can be picked by the linker for older machines.
#include <cfloat>
#include <cmath>
#include <cstring>

#include "stream.h"

namespace adtrie {
namespace {

inline float hsum(vf v) {
  float lanes[W];
  vstore(lanes, v);
  for (int step = W / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  return lanes[0];
}

// exp(x) for x <= 88, relative error about 2 ulp; below -87 gives about 1e-38, not 0.
inline vf vexp(vf x) {
  x = vmax(x, vset(-87.0f));
  const vf n = vround(vmul(x, vset(1.44269504f)));
  vf r = vfma(n, vset(-0.693359375f), x);
  r = vfma(n, vset(2.12194440e-4f), r);
  vf p = vset(1.0f / 5040);
  p = vfma(p, r, vset(1.0f / 720));
  p = vfma(p, r, vset(1.0f / 120));
  p = vfma(p, r, vset(1.0f / 24));
  p = vfma(p, r, vset(1.0f / 6));
  p = vfma(p, r, vset(0.5f));
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
  float total = hsum(sum);
  for (; i < n; ++i) total += x[i] * x[i];
  const float inverse = 1.0f / std::sqrt(total / static_cast<float>(n) + epsilon);
  const vf scale = vset(inverse);
  for (i = 0; i + W <= n; i += W) vstore(y + i, vmul(vload(weight + i), vmul(vload(x + i), scale)));
  for (; i < n; ++i) y[i] = weight[i] * (x[i] * inverse);
}

void swiglu(const float* gate, const float* up, int n, float* y) {
  const vf one = vset(1.0f), zero = vset(0.0f);
  for (int i = 0; i < n; i += W) {  // n is a multiple of 16
    const vf g = vload(gate + i);
    const vf e = vexp(vmin(vsub(zero, g), vset(87.0f)));
    vstore(y + i, vmul(vdiv(g, vadd(one, e)), vload(up + i)));
  }
}

void log_sum_exp(const float* x, int n, float* max, float* sum) {
  vf m = vset(-FLT_MAX);
  int i = 0;
  for (; i + W <= n; i += W) m = vmax(m, vload(x + i));
  if (i < n) m = vmax(m, vload_part(x + i, n - i, -FLT_MAX));
  float lanes[W];
  vstore(lanes, m);
  float top = lanes[0];
  for (int j = 1; j < W; ++j) top = lanes[j] > top ? lanes[j] : top;
  const vf shift = vset(top);
  vf total = vset(0.0f);
  for (i = 0; i + W <= n; i += W) total = vadd(total, vexp(vsub(vload(x + i), shift)));
  float rest = 0.0f;
  for (; i < n; ++i) rest += std::exp(x[i] - top);
  *max = top;
  *sum = hsum(total) + rest;
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

// ---- bfloat16 weights: two inputs per 32-bit lane, widened by a shift or a mask ------------------------------------
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
          acc[r][p][i] = vfma(first, vset(x[r * x_stride + k]), acc[r][p][i]);
          acc[r][p][i] = vfma(second, vset(x[r * x_stride + odd]), acc[r][p][i]);
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
  for (int p = begin; p < end; p += step)
    for (int r = 0; r < rows; r += kFloatRows)
      dispatch_f32<kFloatRows>(w, p, p + step < end ? p + step : end, x + r * xs, xs,
                               rows - r < kFloatRows ? rows - r : kFloatRows, y + r * ys, ys, add);
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
  for_each_form(w, begin, end, [&](Format form, const Stripe* stripes, int count) {
    for (int i = 0; i < count; ++i)
      for (int r = 0; r < rows; r += kFloatRows)
        dispatch_q_f32<kFloatRows>(w, form, stripes[i], x + r * xs, xs, rows - r < kFloatRows ? rows - r : kFloatRows,
                                   y + r * ys, ys, add);
  });
}

// ---- attention -------------------------------------------------------------------------------------------------
// Scores of Q queries against B neighbouring blocks of 16 keys, each a plain sum over d in ascending order.
template <int Q, int B>
inline void block_scores(const float* const* q, const float* block, int d, float out[Q][B * kPanel]) {
  vf acc[Q][B * kParts];
  for (int h = 0; h < Q; ++h)
    for (int i = 0; i < B * kParts; ++i) acc[h][i] = vset(0.0f);
  for (int c = 0; c < d; ++c) {
    vf key[B * kParts];
    for (int b = 0; b < B; ++b)
      for (int i = 0; i < kParts; ++i)
        key[b * kParts + i] = vload(block + static_cast<int64_t>(b) * d * kPanel + c * kPanel + i * W);
    for (int h = 0; h < Q; ++h) {
      const vf value = vset(q[h][c]);
      for (int i = 0; i < B * kParts; ++i) acc[h][i] = vfma(key[i], value, acc[h][i]);
    }
  }
  for (int h = 0; h < Q; ++h)
    for (int i = 0; i < B * kParts; ++i) vstore(out[h] + i * W, acc[h][i]);
}

// Scores of the keys of one run, to scores[h * ld + 0 .. run.length).
template <int Q>
void run_scores(const AttendTile& t, int first, Run run, float* scores) {
  int row = run.start, at = 0;
  const int end = run.start + run.length;
  while (row < end) {
    const float* block = t.keys + static_cast<int64_t>(row / kPanel) * t.d * kPanel;
    const int lane = row % kPanel;
    if (end - row >= 2 * kPanel - lane) {
      float tile[Q][2 * kPanel];
      block_scores<Q, 2>(t.q + first, block, t.d, tile);
      const int take = 2 * kPanel - lane;
      for (int h = 0; h < Q; ++h) std::memcpy(scores + h * t.ld + at, tile[h] + lane, take * sizeof(float));
      at += take, row += take;
    } else {
      float tile[Q][kPanel];
      block_scores<Q, 1>(t.q + first, block, t.d, tile);
      const int take = end - row < kPanel - lane ? end - row : kPanel - lane;
      for (int h = 0; h < Q; ++h) std::memcpy(scores + h * t.ld + at, tile[h] + lane, take * sizeof(float));
      at += take, row += take;
    }
  }
}

// out[h][c...] += weights times the values of one run, summed in path order.
template <int Q>
void run_values(const AttendTile& t, int first, Run run, const float* weights) {
  constexpr int kWide = W == 1 ? 1 : W == 8 ? 2 : 4;  // vectors of d kept in registers at a time
  for (int c = 0; c < t.d; c += kWide * W) {
    const int wide = (t.d - c) / W < kWide ? (t.d - c) / W : kWide;
    vf acc[Q][kWide];
    for (int h = 0; h < Q; ++h)
      for (int i = 0; i < kWide; ++i) acc[h][i] = i < wide ? vload(t.out[first + h] + c + i * W) : vset(0.0f);
    const float* value = t.values + static_cast<int64_t>(run.start) * t.d + c;
    if (wide == kWide) {
      for (int n = 0; n < run.length; ++n, value += t.d) {
        vf v[kWide];
        for (int i = 0; i < kWide; ++i) v[i] = vload(value + i * W);
        for (int h = 0; h < Q; ++h) {
          const vf weight = vset(weights[h * t.ld + n]);
          for (int i = 0; i < kWide; ++i) acc[h][i] = vfma(v[i], weight, acc[h][i]);
        }
      }
    } else {
      for (int n = 0; n < run.length; ++n, value += t.d)
        for (int i = 0; i < wide; ++i)
          for (int h = 0; h < Q; ++h)
            acc[h][i] = vfma(vload(value + i * W), vset(weights[h * t.ld + n]), acc[h][i]);
    }
    for (int h = 0; h < Q; ++h)
      for (int i = 0; i < wide; ++i) vstore(t.out[first + h] + c + i * W, acc[h][i]);
  }
}

template <int Q>
void dispatch_run(bool scoring, const AttendTile& t, int first, int count, Run run, float* scores) {
  if constexpr (Q > 0) {
    if (count != Q)
      dispatch_run<Q - 1>(scoring, t, first, count, run, scores);
    else if (scoring)
      run_scores<Q>(t, first, run, scores);
    else
      run_values<Q>(t, first, run, scores);
  }
}

// Visits the paths in order: what all rows share of their first run once for all queries, the rest row by row.
// Sums stay in path order per query, so a row's result does not depend on the rows beside it.
inline void visit_paths(bool scoring, const AttendTile& t) {
  int shared = t.runs[0][0].length;
  for (int r = 1; r < t.num_rows; ++r) shared = t.runs[r][0].length < shared ? t.runs[r][0].length : shared;
  const int start = t.runs[0][0].start;
  dispatch_run<kMaxQueries>(scoring, t, 0, t.num_rows * t.heads, {start, shared}, t.scores);
  for (int r = 0; r < t.num_rows; ++r) {
    const int first = r * t.heads;
    float* scores = t.scores + first * t.ld + shared;
    for (int s = 0; s < t.num_runs[r]; ++s) {
      const Run run = t.runs[r][s];
      const Run rest = s == 0 ? Run{run.start + shared, run.length - shared} : run;
      if (rest.length > 0) dispatch_run<kMaxQueries>(scoring, t, first, t.heads, rest, scores);
      scores += rest.length;
    }
  }
}

// exp(score - max) in place over a path padded to 16; returns 1 / sum.
inline float softmax_weights(float* scores, int length) {
  for (int i = length; i % kPanel != 0; ++i) scores[i] = -FLT_MAX;  // pads weigh about 1e-38, nothing beside 1
  const int padded = (length + kPanel - 1) / kPanel * kPanel;
  vf m = vset(-FLT_MAX);
  for (int i = 0; i < padded; i += W) m = vmax(m, vload(scores + i));
  float lanes[W];
  vstore(lanes, m);
  float top = lanes[0];
  for (int j = 1; j < W; ++j) top = lanes[j] > top ? lanes[j] : top;
  vf total = vset(0.0f);
  for (int i = 0; i < padded; i += W) {
    const vf e = vexp(vsub(vload(scores + i), vset(top)));
    vstore(scores + i, e);
    total = vadd(total, e);
  }
  return 1.0f / hsum(total);
}

void attend(const AttendTile& t) {
  visit_paths(true, t);
  float inverse[kMaxQueries];
  for (int r = 0; r < t.num_rows; ++r) {
    int length = 0;
    for (int s = 0; s < t.num_runs[r]; ++s) length += t.runs[r][s].length;
    for (int h = r * t.heads; h < (r + 1) * t.heads; ++h) {
      inverse[h] = softmax_weights(t.scores + h * t.ld, length);
      for (int i = 0; i < t.d; ++i) t.out[h][i] = 0.0f;
    }
  }
  visit_paths(false, t);
  for (int h = 0; h < t.num_rows * t.heads; ++h)
    for (int i = 0; i < t.d; i += W) vstore(t.out[h] + i, vmul(vload(t.out[h] + i), vset(inverse[h])));
}

}  // namespace
}  // namespace adtrie
