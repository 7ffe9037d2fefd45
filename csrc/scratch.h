// Buffers of one pass and who uses them. Included by the files that implement Cache only.
#pragma once
#include <algorithm>
#include <vector>

#include "linear.h"
#include "paths.h"
#include "transformer.h"

namespace adtrie {

struct Cache::Scratch {
  // Of one thread, except that local[0].normed and .prepared are shared by all where inputs are not prepared alone.
  struct Local {
    Lines<float> normed, scores, tails, turned, out, gate, up;
    PreparedRows prepared;
  };
  int hidden, q_width, kv_width, inner;  // padded column counts
  int path_stride = 0;                   // longest path of the pass, padded
  Lines<float> x, q, k, v, apart, attended, gated, cosines, sines;
  Lines<float>& rotated;  // [rows, heads, head_stride]: q in place, apart from it where heads are no whole vectors
  PreparedRows for_o, for_down;
  std::vector<Local> local;
  std::vector<Run> runs;
  Paths paths;
  std::vector<int> run_ptr, asked;  // asked: rows of the pass whose hidden states are wanted

  Scratch(const Shape& s, int head_stride, int num_threads)
      : hidden(padded(s.hidden)), q_width(padded(s.num_heads * s.head_size)),
        kv_width(padded(s.num_kv_heads * s.head_size)), inner(padded(s.intermediate)),
        rotated(head_stride == s.head_size ? q : apart), local(num_threads) {
    for (Local& own : local) 
      own.out.resize(static_cast<size_t>(kGroupRows) * kMaxQueries * head_stride), own.turned.resize(own.out.size());
  }

  static void grow(Lines<float>& v, int rows, int64_t columns) {
    if (v.size() < static_cast<size_t>(rows * columns)) v.resize(rows * columns);
  }

  static bool alone(const RowPlan& plan) { return plan.norm_alone || plan.mlp_norm_alone; }

  void resize(const Shape& s, int head_stride, int rows, int longest_path, const RowPlan& plan) {
    grow(x, rows, hidden), grow(q, rows, q_width), grow(k, rows, kv_width), grow(v, rows, kv_width);
    grow(attended, rows, q_width), grow(gated, rows, inner);
    grow(rotated, rows, static_cast<int64_t>(s.num_heads) * head_stride);
    grow(cosines, rows, s.head_size / 2), grow(sines, rows, s.head_size / 2);
    path_stride = padded(longest_path);
    const int gate = plan.gate_panels > 0 ? plan.gate_panels * kPanel : inner + kBlock;
    for (size_t i = 0; i < local.size(); ++i) {
      grow(local[i].scores, kMaxQueries, path_stride);
      grow(local[i].gate, rows, std::min(gate, inner + kBlock)), grow(local[i].up, rows, std::min(gate, inner + kBlock));
      grow(local[i].normed, i == 0 || alone(plan) ? rows : 1, hidden);
    }
  }

  // Of the runs as they are now: rows that stand next to each other share less when some between them are left out.
  void collect_paths() {
    paths.collect(runs, run_ptr);
    for (Local& own : local) grow(own.tails, kGroupRows * kMaxQueries, paths.longest_tail);
  }

  void resize_prepared(const KernelTable& kernels, const Shape& s, int rows, const RowPlan& plan, bool gather) {
    const int heads = s.num_heads * s.head_size, widest = std::max({s.hidden, heads, s.intermediate});
    const auto fit = [&](PreparedRows& into, int width) { into.resize(kernels, s.activations, rows, width, gather); };
    fit(for_o, heads), fit(for_down, s.intermediate);
    for (size_t i = 0; i < (alone(plan) ? local.size() : 1); ++i) fit(local[i].prepared, widest);
  }
};

}  // namespace adtrie
