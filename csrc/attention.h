// Softmax attention of the rows of a group over the runs of their paths, over the vector vocabulary of the file that
// includes this after kernels_float.h. What all rows share is scored for a tile of queries at a time, what they have
// apart for all of them: rows of a tree have few keys each in the same blocks.
#include <cfloat>
#include <cstring>
#include <type_traits>

#include "kernels.h"

namespace adtrie {
namespace {

// Scores of Q queries against B neighbouring blocks of 16 keys, each a plain sum over d in ascending order. As many
// floats from `next` on come into the caches meanwhile.
template <int Q, int B>
inline void block_scores(const float* const* q, const float* block, int d, float* out, int64_t ld,
                         const float* next = nullptr) {
  vf acc[Q][B * kParts];
  for (int h = 0; h < Q; ++h)
    for (int i = 0; i < B * kParts; ++i) acc[h][i] = vset(0.0f);
  for (int c = 0; c < d; ++c) {
    vf key[B * kParts];
    for (int b = 0; b < B; ++b)
      for (int i = 0; i < kParts; ++i)
        key[b * kParts + i] = vload(block + static_cast<int64_t>(b) * d * kPanel + c * kPanel + i * W);
    for (int b = 0; next && b < B; ++b) __builtin_prefetch(next + (c * B + b) * kPanel);
    for (int h = 0; h < Q; ++h) {
      const vf value = vset(q[h][c]);
      for (int i = 0; i < B * kParts; ++i) acc[h][i] = vfma(key[i], value, acc[h][i]);
    }
  }
  for (int h = 0; h < Q; ++h)
    for (int i = 0; i < B * kParts; ++i) vstore(out + h * ld + i * W, acc[h][i]);
}

// Queries of rows [begin, end) of a group, at most kMaxQueries.
struct Queries {
  Queries(const AttendTile& t, int begin, int end) : count((end - begin) * t.heads) {
    for (int i = 0; i < count; ++i) q[i] = t.q + (begin + i / t.heads) * t.q_stride + i % t.heads * t.d;
  }
  int count;
  const float* q[kMaxQueries];
};

// Scores of the keys that the group shares, to scores[h * ld + 0 .. run.length).
template <int Q>
void shared_scores(const AttendTile& t, const Queries& queries, Run run) {
  int row = run.start, at = 0;
  const int end = run.start + run.length;
  while (row < end) {
    const float* block = t.keys + static_cast<int64_t>(row / kPanel) * t.d * kPanel;
    const int lane = row % kPanel;
    const bool two = end - row >= 2 * kPanel - lane;
    const int take = two ? 2 * kPanel - lane : end - row < kPanel - lane ? end - row : kPanel - lane;
    const float* next = row + take < end ? block + static_cast<int64_t>(two ? 2 : 1) * t.d * kPanel
                                         : t.values + static_cast<int64_t>(run.start) * t.d;
    float tile[Q][2 * kPanel];
    if (two)
      block_scores<Q, 2>(queries.q, block, t.d, tile[0], 2 * kPanel, next);
    else
      block_scores<Q, 1>(queries.q, block, t.d, tile[0], 2 * kPanel, next);
    for (int h = 0; h < Q; ++h) std::memcpy(t.scores + h * t.ld + at, tile[h] + lane, take * sizeof(float));
    at += take, row += take;
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

// Scores of one key for each row of a group in each of P passes; rows lie in the lanes: turned [H, d, kGroupRows] to
// out [P, H, kGroupRows]. The sums are those of block_scores.
template <int H, int P>
void picked_scores(const float* turned, const float* block, const TailPass* passes, int d, float* out) {
  for (int i = 0; i < kParts; ++i) {
    vi lanes[P];
    vf acc[P][H];
    for (int p = 0; p < P; ++p) {
      lanes[p] = vlanes(passes[p].lane + i * W);
      for (int h = 0; h < H; ++h) acc[p][h] = vset(0.0f);
    }
    for (int c = 0; c < d; ++c) {
      vf key[P];
      for (int p = 0; p < P; ++p) key[p] = vpick(block + c * kPanel, lanes[p]);
      for (int h = 0; h < H; ++h) {
        const vf value = vload(turned + (h * d + c) * kGroupRows + i * W);
        for (int p = 0; p < P; ++p) acc[p][h] = vfma(key[p], value, acc[p][h]);
      }
    }
    for (int p = 0; p < P; ++p)
      for (int h = 0; h < H; ++h) vstore(out + (p * H + h) * kGroupRows + i * W, acc[p][h]);
  }
}

// Queries of all rows with a row in each lane; lanes without a row repeat the first.
inline void turn_queries(const AttendTile& t) {
  for (int h = 0; h < t.heads; ++h) {
    const float* rows[kGroupRows];
    for (int r = 0; r < kGroupRows; ++r)
      rows[r] = t.q + (r < t.begin || r >= t.end ? t.begin : r) * t.q_stride + h * t.d;
    for (int c = 0; c < t.d; c += 16) vturn(rows, c, t.turned + (h * t.d + c) * kGroupRows);
  }
}

// Scores of a pass to the tails of rows [begin, end): that of row r and head h is scores[r * row + h * head + lane],
// its own lane of each row where `lanes`.
inline void place_tails(const AttendTile& t, const TailPass& pass, int begin, int end, const float* scores, int row,
                        int head, bool lanes) {
  for (int r = begin; r < end; ++r) {
    if (pass.at[r] < 0) continue;
    const float* from = scores + r * row + (lanes ? pass.lane[r] : 0);
    float* to = t.tails + r * t.heads * t.tail_stride + pass.at[r];
    for (int h = 0; h < t.heads; ++h) to[h * t.tail_stride] = from[h * head];
  }
}

// A block of keys for the rows that have some of it on their paths: a key of every row at a time where that is less
// work (a vector of keys and its choice beside a sum for each head), else all keys for every query.
inline void block_tails(const AttendTile& t, const TailBlock& block, bool& turned) {
  const int begin = block.first_row > t.begin ? block.first_row : t.begin;
  const int end = block.last_row < t.end ? block.last_row : t.end, step = kMaxQueries / t.heads;
  const float* keys = t.keys + static_cast<int64_t>(block.number) * t.d * kPanel;
  const TailPass *passes = t.passes + block.first_pass, *last = passes + block.num_passes;
  alignas(64) float scores[kMaxQueries * kGroupRows * kPanel];
  if (block.num_passes * (t.heads + 2) + 2 * t.heads > (end - begin) * t.heads) {
    for (int r = begin; r < end; r += step) {
      const Queries queries(t, r, r + step < end ? r + step : end);
      float* out = scores + r * t.heads * kPanel;
      with_count<kMaxQueries>(queries.count, [&](auto q) { block_scores<q.value, 1>(queries.q, keys, t.d, out, kPanel); });
    }
    for (; passes < last; ++passes) place_tails(t, *passes, begin, end, scores, t.heads * kPanel, kPanel, true);
    return;
  }
  if (!turned) turn_queries(t);
  turned = true;
  for (int taken; passes < last; passes += taken) {
    taken = last - passes < 2 ? 1 : 2;
    with_count<kMaxQueries>(t.heads, [&](auto h) {
      if (taken == 2)
        picked_scores<h.value, 2>(t.turned, keys, passes, t.d, scores);
      else
        picked_scores<h.value, 1>(t.turned, keys, passes, t.d, scores);
    });
    for (int p = 0; p < taken; ++p)
      place_tails(t, passes[p], begin, end, scores + p * t.heads * kGroupRows, 1, kGroupRows, false);
  }
}

// The runs of a path without its first `skipped` rows, which lie in the first run.
struct Rest {
  const Run* runs;
  int count, skipped;
  Run at(int i) const { return i > 0 ? runs[i] : Run{runs[0].start + skipped, runs[0].length - skipped}; }
};

constexpr int kValuesAhead = 16;  // rows, as many as a block of keys brought with it

// out[h * d + c...] += weights times the values of runs, summed in path order. With kFetch values come into the caches
// before they are taken, and as many floats from t.next_keys on.
template <int Q, bool kFetch>
void run_values(const AttendTile& t, float* out, Rest path, const float* path_weights) {
  constexpr int kWide = W == 1 ? 1 : W == 8 || Q > 6 ? 2 : 4;  // vectors of d kept in registers at a time
  for (int c = 0; c < t.d; c += kWide * W) {
    const int wide = (t.d - c) / W < kWide ? (t.d - c) / W : kWide;
    vf acc[Q][kWide];
    for (int h = 0; h < Q; ++h)
      for (int i = 0; i < kWide; ++i) acc[h][i] = i < wide ? vload(out + h * t.d + c + i * W) : vset(0.0f);
    const float* weights = path_weights;
    for (int s = 0; s < path.count; ++s) {
      const Run run = path.at(s);
      const float* value = t.values + static_cast<int64_t>(run.start) * t.d + c;
      if (wide == kWide) {
        for (int n = 0; n < run.length; ++n, value += t.d) {
          vf v[kWide];
          for (int i = 0; i < kWide; ++i) v[i] = vload(value + i * W);
          for (int i = 0; kFetch && i < kWide * W; i += kPanel) {
            __builtin_prefetch(value + kValuesAhead * t.d + i);
            __builtin_prefetch(t.next_keys + n * t.d + c + i);
          }
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
      for (int i = 0; i < wide; ++i) vstore(out + h * t.d + c + i * W, acc[h][i]);
  }
}

// exp(score - max) in place over a path padded to 16; returns 1 / sum.
inline float softmax_weights(float* scores, int length) {
  for (int i = length; i % kPanel != 0; ++i) scores[i] = -FLT_MAX;  // pads weigh about 1e-38, nothing beside 1
  const int padded = (length + kPanel - 1) / kPanel * kPanel;
  vf m = vset(-FLT_MAX);
  for (int i = 0; i < padded; i += W) m = vmax(m, vload(scores + i));
  const float top = vtop(m);
  vf total = vset(0.0f);
  for (int i = 0; i < padded; i += W) {
    const vf e = vexp(vsub(vload(scores + i), vset(top)));
    vstore(scores + i, e);
    total = vadd(total, e);
  }
  return 1.0f / vsum(total);
}

// Rows [begin, end) of a group, whose apart keys are scored: kMaxQueries queries at most.
inline void attend_queries(const AttendTile& t, int begin, int end) {
  const Queries queries(t, begin, end);
  float* out = t.out + (begin - t.begin) * t.heads * t.d;
  with_count<kMaxQueries>(queries.count, [&](auto q) {
    shared_scores<q.value>(t, queries, {t.runs[t.run_ptr[begin]].start, t.shared});
  });
  float inverse[kMaxQueries];
  int common = t.runs[t.run_ptr[begin]].length;
  for (int r = begin; r < end; ++r) {
    const Run first = t.runs[t.run_ptr[r]];
    common = first.length < common ? first.length : common;
    int length = 0;
    for (int s = t.run_ptr[r]; s < t.run_ptr[r + 1]; ++s) length += t.runs[s].length;
    for (int h = (r - begin) * t.heads; h < (r - begin + 1) * t.heads; ++h) {
      const float* tail = t.tails + (begin * t.heads + h) * t.tail_stride;
      for (int i = t.shared; i < length; ++i) t.scores[h * t.ld + i] = tail[i - t.shared];
      inverse[h] = softmax_weights(t.scores + h * t.ld, length);
    }
  }
  for (int i = 0; i < queries.count * t.d; ++i) out[i] = 0.0f;
  // Sums stay in path order per query, so a row's result does not depend on the rows beside it.
  const Run whole = {t.runs[t.run_ptr[begin]].start, common};
  with_count<kMaxQueries>(queries.count, [&](auto q) { run_values<q.value, true>(t, out, {&whole, 1, 0}, t.scores); });
  for (int r = begin; r < end; ++r) {
    const int first = (r - begin) * t.heads;
    const Rest rest = {t.runs + t.run_ptr[r], t.run_ptr[r + 1] - t.run_ptr[r], common};
    with_count<kMaxQueries>(t.heads, [&](auto q) {
      run_values<q.value, false>(t, out + first * t.d, rest, t.scores + first * t.ld + common);
    });
  }
  for (int h = 0; h < queries.count; ++h)
    for (int i = 0; i < t.d; i += W) vstore(out + h * t.d + i, vmul(vload(out + h * t.d + i), vset(inverse[h])));
}

void attend(const AttendTile& t) {
  bool turned = false;
  for (int b = 0; b < t.num_blocks; ++b) block_tails(t, t.blocks[b], turned);
  const int step = kMaxQueries / t.heads;
  for (int r = t.begin; r < t.end; r += step) attend_queries(t, r, r + step < t.end ? r + step : t.end);
}

}  // namespace
}  // namespace adtrie
