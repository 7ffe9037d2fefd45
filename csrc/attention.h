// Softmax attention of a tile of queries over the runs of their paths, over the vector vocabulary of the file that
// includes this after kernels_float.h.
#include <cfloat>
#include <cstring>
#include <type_traits>

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

// The runs of a path without its first `skipped` rows, which lie in the first run.
struct Rest {
  const Run* runs;
  int count, skipped;
  Run at(int i) const { return i > 0 ? runs[i] : Run{runs[0].start + skipped, runs[0].length - skipped}; }
};

// out[h][c...] += weights times the values of runs, summed in path order.
template <int Q>
void run_values(const AttendTile& t, int first, Rest path, const float* path_weights) {
  constexpr int kWide = W == 1 ? 1 : W == 8 || Q > 6 ? 2 : 4;  // vectors of d kept in registers at a time
  for (int c = 0; c < t.d; c += kWide * W) {
    const int wide = (t.d - c) / W < kWide ? (t.d - c) / W : kWide;
    vf acc[Q][kWide];
    for (int h = 0; h < Q; ++h)
      for (int i = 0; i < kWide; ++i) acc[h][i] = i < wide ? vload(t.out[first + h] + c + i * W) : vset(0.0f);
    const float* weights = path_weights;
    for (int s = 0; s < path.count; ++s) {
      const Run run = path.at(s);
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
      weights += run.length;
    }
    for (int h = 0; h < Q; ++h)
      for (int i = 0; i < wide; ++i) vstore(t.out[first + h] + c + i * W, acc[h][i]);
  }
}

// Calls visit(std::integral_constant<int, count>) for a count of 1 to N.
template <int N, typename Visit>
inline void with_count(int count, const Visit& visit) {
  if constexpr (N > 0) {
    if (count == N)
      visit(std::integral_constant<int, N>());
    else
      with_count<N - 1>(count, visit);
  }
}

constexpr int kMaxPieces = 96;  // of what the rows of a tile do not share: more are scored run by run

// Blocks of 16 keys that the rests of paths lie in, and their pieces. Rows of a tree have many short runs in few blocks.
struct TailBlocks {
  struct Piece {
    int32_t block, row, lane, length, at;
  };
  int32_t numbers[kMaxPieces], first_row[kMaxPieces], last_row[kMaxPieces];
  Piece pieces[kMaxPieces];
  int num_blocks = 0, num_pieces = 0;

  // False when there are too many.
  bool add(int row, Run run, int at) {
    for (int key = run.start, end = run.start + run.length; key < end;) {
      if (num_pieces == kMaxPieces) return false;
      const int lane = key % kPanel, take = end - key < kPanel - lane ? end - key : kPanel - lane;
      int block = num_blocks - 1;
      while (block >= 0 && numbers[block] != key / kPanel) --block;
      if (block < 0) {
        block = num_blocks++;
        numbers[block] = key / kPanel, first_row[block] = row;
      }
      last_row[block] = row;
      pieces[num_pieces++] = {block, row, lane, take, at};
      key += take, at += take;
    }
    return true;
  }
};

// Scores of what rows do not share: each block once for all rows that have keys in it. False when there are too many.
inline bool tail_scores(const AttendTile& t, int shared) {
  TailBlocks tail;
  for (int r = 0; r < t.num_rows; ++r) {
    const Rest rest = {t.runs[r], t.num_runs[r], shared};
    for (int s = 0, at = shared; s < rest.count; ++s) {
      const Run run = rest.at(s);
      if (!tail.add(r, run, at)) return false;
      at += run.length;
    }
  }
  alignas(64) float scores[kMaxPieces][kMaxQueries][kPanel];
  for (int b = 0; b < tail.num_blocks; ++b) {
    const int first = tail.first_row[b] * t.heads, count = (tail.last_row[b] + 1) * t.heads - first;
    const float* block = t.keys + static_cast<int64_t>(tail.numbers[b]) * t.d * kPanel;
    with_count<kMaxQueries>(count, [&](auto q) { block_scores<q.value, 1>(t.q + first, block, t.d, scores[b] + first); });
  }
  for (int i = 0; i < tail.num_pieces; ++i) {
    const TailBlocks::Piece piece = tail.pieces[i];
    for (int h = piece.row * t.heads; h < (piece.row + 1) * t.heads; ++h) {
      const float* from = scores[piece.block][h] + piece.lane;
      float* to = t.scores + h * t.ld + piece.at;
      for (int n = 0; n < piece.length; ++n) to[n] = from[n];
    }
  }
  return true;
}

// What the rows of a tile share of their first runs is scored for all queries at once, the rest by blocks or runs.
inline void path_scores(const AttendTile& t, int shared) {
  const int start = t.runs[0][0].start;
  with_count<kMaxQueries>(t.num_rows * t.heads, [&](auto q) { run_scores<q.value>(t, 0, {start, shared}, t.scores); });
  if (tail_scores(t, shared)) return;
  for (int r = 0; r < t.num_rows; ++r) {
    const int first = r * t.heads;
    const Rest rest = {t.runs[r], t.num_runs[r], shared};
    float* scores = t.scores + first * t.ld + shared;
    for (int s = 0; s < rest.count; ++s) {
      const Run run = rest.at(s);
      with_count<kMaxQueries>(t.heads, [&](auto q) { run_scores<q.value>(t, first, run, scores); });
      scores += run.length;
    }
  }
}

// Sums stay in path order per query, so a row's result does not depend on the rows beside it.
inline void path_values(const AttendTile& t, int shared) {
  const Run common = {t.runs[0][0].start, shared};
  with_count<kMaxQueries>(t.num_rows * t.heads,
                          [&](auto q) { run_values<q.value>(t, 0, {&common, 1, 0}, t.scores); });
  for (int r = 0; r < t.num_rows; ++r) {
    const int first = r * t.heads;
    const Rest rest = {t.runs[r], t.num_runs[r], shared};
    with_count<kMaxQueries>(t.heads,
                            [&](auto q) { run_values<q.value>(t, first, rest, t.scores + first * t.ld + shared); });
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
  int shared = t.runs[0][0].length;
  for (int r = 1; r < t.num_rows; ++r) shared = t.runs[r][0].length < shared ? t.runs[r][0].length : shared;
  path_scores(t, shared);
  float inverse[kMaxQueries];
  for (int r = 0; r < t.num_rows; ++r) {
    int length = 0;
    for (int s = 0; s < t.num_runs[r]; ++s) length += t.runs[r][s].length;
    for (int h = r * t.heads; h < (r + 1) * t.heads; ++h) {
      inverse[h] = softmax_weights(t.scores + h * t.ld, length);
      for (int i = 0; i < t.d; ++i) t.out[h][i] = 0.0f;
    }
  }
  path_values(t, shared);
  for (int h = 0; h < t.num_rows * t.heads; ++h)
    for (int i = 0; i < t.d; i += W) vstore(t.out[h] + i, vmul(vload(t.out[h] + i), vset(inverse[h])));
}

}  // namespace
}  // namespace adtrie
