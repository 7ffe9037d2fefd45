// Softmax attention of a tile of queries over the runs of their paths, over the vector vocabulary of the file that
// includes this after kernels_float.h.
#include <cfloat>
#include <cstring>

#include "kernels.h"

namespace adtrie {
namespace {

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
  constexpr int kWide = W == 1 ? 1 : W == 8 || Q > 6 ? 2 : 4;  // vectors of d kept in registers at a time
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
