// The layers of one pass, stage by stage: what every thread does between two barriers. Per layer
//   norm, form, q k v (and the heads placed) | attention, form | o | norm, form, gate, up, SwiGLU, form | down
// where "form" makes of floats what the linears take (linear.h), with the choices of a RowPlan. In the last layer only
// the rows go on whose hidden states were asked for.
#include <algorithm>
#include <cstring>
#include <initializer_list>

#include "scratch.h"

namespace adtrie {
namespace {

constexpr int kChunkRows = 256;  // rows of one pass over the layers; more rows take several passes

bool any_sparse(const std::vector<Layer>& layers) {
  for (const Layer& l : layers)
    for (const Panels* w : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down})
      if (w->sparse) return true;
  return false;
}

int64_t bytes_before(const Panels& w, int panel) { return panel_data(w, panel) - panel_data(w, 0); }

// Part of n things of nearly equal bytes, of which before(i) lie before thing i: a panel costs what its pattern does.
template <typename Before>
Range split_bytes(int n, int thread, int num_threads, Before before) {
  const auto cut = [&](int part) {
    const int64_t wanted = before(n) * part / num_threads;
    int low = 0, high = n;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (before(middle) + before(middle + 1) < 2 * wanted)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  };
  return {cut(thread), cut(thread + 1)};
}

// Part of whole pairs of panels of two linears: blocks of 32 columns.
Range split_pairs(const Panels& a, const Panels& b, int thread, int num_threads) {
  const int panels = a.num_panels;
  const Range pairs = split_bytes((panels + 1) / 2, thread, num_threads, [&](int pair) {
    return bytes_before(a, std::min(2 * pair, panels)) + bytes_before(b, std::min(2 * pair, panels));
  });
  return {std::min(2 * pairs.begin, panels), std::min(2 * pairs.end, panels)};
}

}  // namespace

// One thread's part of a pass.
struct Cache::Worker {
  Cache& cache;
  Transformer& model;
  Scratch& s;
  const RowPlan& plan;
  const Shape& shape;
  const KernelTable& kernels;
  const int32_t* places;
  int thread, num_threads, rows;
  Stop* stop;
  int meetings = 0;

  Range mine(int n) const { return split(n, thread, num_threads); }
  Range mine(const Panels& w) const {
    return split_bytes(w.num_panels, thread, num_threads, [&](int panel) { return bytes_before(w, panel); });
  }
  bool prepared(const Panels& w) const { return wants_prepared(w, shape.activations); }
  float* row(Lines<float>& values, int r, int width) const {
    return values.data() + static_cast<int64_t>(r) * width;
  }

  // All threads have ended the stage. Where they may regroup, thread 0 may go on alone.
  void meet(Stage stage, bool regroup = false) {
    ++meetings;
    if (stop && thread == 0) stop->look(meetings);
    model.clock().worked(thread, stage);
    if (num_threads > 1) {
      regroup ? model.team().regroup() : model.team().barrier();
      num_threads = model.team().active();
    }
    model.clock().waited(thread, stage);
  }
  // Whether this thread leaves after the last meeting. One that leaves others at work touches the model alone: the
  // forward may be over.
  bool stopped() const { return thread >= num_threads || (stop && stop->by(meetings)); }

  void apply(const Panels& w, Range panels, const Inputs& x, float* y, int64_t stride, bool add, const GemmPlan& gemm,
             Reading next) {
    multiply(kernels, w, panels.begin, panels.end, x, shape.activations, 0, rows, y, stride, add, gemm, next);
  }
  // Where this thread begins to read a linear that it takes its part of.
  Reading part(const Panels& w) const { return reading(w, std::min(mine(w).begin, w.num_panels - 1)); }

  // The stage ends: alone, every thread has what it needs already.
  void end(Stage stage, bool alone) {
    if (alone)
      model.clock().passed(thread, stage);
    else
      meet(stage);
  }

  // Rows as linears take them, by every thread alone for all of them or shared out: floats_of(r) makes or finds the floats
  // of a row, which lie in `values` if they are wanted later.
  template <typename Floats>
  Inputs prepare(Stage stage, bool alone, bool wanted, bool gather, const float* values, int64_t stride, int width,
                 const Floats& floats_of) {
    PreparedRows& into = s.local[alone ? thread : 0].prepared;
    const Range range = alone ? Range{0, rows} : mine(rows);
    for (int r = range.begin; r < range.end; ++r) {
      const float* floats = floats_of(r);
      if (wanted) into.prepare(kernels, shape.activations, r, floats, width, gather);
    }
    end(stage, alone);
    return {values, stride, &into};
  }

  // Normalised rows as `linears` take them. Where none takes floats a row's are gone with the next row: what is not
  // written drives nothing out of the caches.
  Inputs normalise(Stage stage, bool alone, const std::vector<float>& weight, std::initializer_list<const Panels*> linears) {
    bool wanted = false, gather = false, floats = false;
    for (const Panels* w : linears) wanted |= prepared(*w), floats |= !prepared(*w), gather |= w->sparse;
    Lines<float>& normed = s.local[floats && !alone ? 0 : thread].normed;
    return prepare(stage, alone, wanted, gather, normed.data(), s.hidden, shape.hidden, [&](int r) {
      float* out = row(normed, floats ? r : 0, s.hidden);
      kernels.rms_norm(row(s.x, r, s.hidden), weight.data(), shape.rms_epsilon, shape.hidden, out);
      return out;
    });
  }

  // Whole heads for each thread where that divides the work well enough, else panels and one more barrier.
  void project(int index) {
    const Layer& l = model.layers[index];
    const Inputs x = normalise(Stage::kNorm, plan.norm_alone, l.attn_norm, {&l.q, &l.k, &l.v});
    cache.fetch_keys(index, rows, thread, num_threads);
    const int heads = shape.num_heads, kv_heads = shape.num_kv_heads, per_head = shape.head_size / kPanel;
    if (plan.whole_heads && shape.head_size % kPanel == 0) {
      const Range own = split_bytes(heads + kv_heads, thread, num_threads, [&](int head) {
        const int of_q = std::min(head, heads) * per_head, of_kv = std::max(head - heads, 0) * per_head;
        return bytes_before(l.q, of_q) + bytes_before(l.k, of_kv) + bytes_before(l.v, of_kv);
      });
      const Range q = {std::min(own.begin, heads) * per_head, std::min(own.end, heads) * per_head};
      const Range kv = {std::max(own.begin - heads, 0) * per_head, std::max(own.end - heads, 0) * per_head};
      const int first_kv = std::min(kv.begin, l.k.num_panels - 1);
      cache.fetch_places(index, places, {0, rows}, {kv.begin / per_head, kv.end / per_head});
      apply(l.q, q, x, s.q.data(), s.q_width, false, plan.qkv, reading(l.k, first_kv));
      apply(l.k, kv, x, s.k.data(), s.kv_width, false, plan.qkv, reading(l.v, first_kv));
      apply(l.v, kv, x, s.v.data(), s.kv_width, false, plan.qkv, part(l.o));
      model.clock().passed(thread, Stage::kQkv);
      cache.place_heads(index, places, {0, rows}, own);
    } else {
      cache.fetch_places(index, places, mine(rows), {0, kv_heads});
      apply(l.q, mine(l.q), x, s.q.data(), s.q_width, false, plan.qkv, part(l.k));
      apply(l.k, mine(l.k), x, s.k.data(), s.kv_width, false, plan.qkv, part(l.v));
      apply(l.v, mine(l.v), x, s.v.data(), s.kv_width, false, plan.qkv, part(l.o));
      meet(Stage::kQkv);
      cache.place_heads(index, places, mine(rows), {0, heads + kv_heads});
    }
    meet(Stage::kPlace);
  }

  void output(int index) {
    const Layer& l = model.layers[index];
    const int width = shape.num_heads * shape.head_size;
    const Inputs x = cache.attends_prepared(index)
                         ? Inputs{s.attended.data(), s.q_width, &s.for_o}
                         : prepare(Stage::kO, plan.norm_alone, prepared(l.o), l.o.sparse, s.attended.data(),
                                   s.q_width, width, [&](int r) { return row(s.attended, r, s.q_width); });
    const Range panels = mine(l.o);
    apply(l.o, panels, x, s.x.data(), s.hidden, true, plan.o, part(l.gate));
    if (!l.o_bias.empty())
      for (int r = 0; r < rows; ++r)
        for (int c = panels.begin * kPanel; c < std::min(panels.end * kPanel, shape.hidden); ++c)
          row(s.x, r, s.hidden)[c] += l.o_bias[c];
    meet(Stage::kO);
  }

  // Gate, up and their product a few panels at a time, so that they never leave the near caches as floats.
  void gate(int index) {
    const Layer& l = model.layers[index];
    const Inputs x = normalise(Stage::kMlpNorm, plan.mlp_norm_alone, l.mlp_norm, {&l.gate, &l.up});
    const bool prepares = prepared(l.down);
    Scratch::Local& own = s.local[thread];
    const Range all = split_pairs(l.gate, l.up, thread, num_threads);
    const int step = plan.gate_panels > 0 ? plan.gate_panels : std::max(all.end - all.begin, 1);
    for (int p = all.begin; p < all.end; p += step) {
      const int count = std::min(step, all.end - p), width = count * kPanel, column = p * kPanel;
      const Reading next = p + count < all.end ? reading(l.gate, p + count) : part(l.down);
      apply(panels_from(l.gate, p), {0, count}, x, own.gate.data(), width, false, plan.gate_up, reading(l.up, p));
      apply(panels_from(l.up, p), {0, count}, x, own.up.data(), width, false, plan.gate_up, next);
      for (int r = 0; r < rows; ++r) {
        float* product = prepares ? row(own.gate, r, width) : row(s.gated, r, s.inner) + column;
        kernels.swiglu(row(own.gate, r, width), row(own.up, r, width), width, product);
        if (prepares)
          s.for_down.prepare_part(kernels, shape.activations, r, product, shape.intermediate, column,
                                  std::min(width, shape.intermediate - column), l.down.sparse);
      }
    }
    meet(Stage::kGateUp);
    if (stopped()) return;
    const Panels& after = index + 1 < shape.num_layers ? model.layers[index + 1].q : model.head;
    apply(l.down, mine(l.down), {s.gated.data(), s.inner, &s.for_down}, s.x.data(), s.hidden, true, plan.down,
          part(after));
    meet(Stage::kDown, true);
  }

  void run(const int32_t* tokens, const std::vector<int>& asked, float* hidden) {
    model.clock().start(thread);
    cache.embed_rows(tokens, places, mine(rows));
    meet(Stage::kEmbed);
    for (int index = 0; index < shape.num_layers; ++index) {
      project(index);
      if (stopped()) return;
      if (index == shape.num_layers - 1 && static_cast<int>(asked.size()) < rows) {
        if (thread == 0) cache.keep_rows(asked);
        rows = static_cast<int>(asked.size());
        if (rows == 0) return;
        meet(Stage::kPlace);
      }
      cache.attend_rows(index, rows, thread, num_threads);
      meet(Stage::kAttend);
      if (stopped()) return;
      output(index);
      if (stopped()) return;
      gate(index);
      if (stopped()) return;
    }
    const Range range = mine(rows);
    for (int r = range.begin; r < range.end; ++r)
      kernels.rms_norm(row(s.x, r, s.hidden), model.final_norm.data(), shape.rms_epsilon, shape.hidden,
                       hidden + static_cast<int64_t>(r) * shape.hidden);
    model.clock().worked(thread, Stage::kFinal);
  }
};

bool Cache::forward(const int32_t* tokens, const int32_t* places, int num_tokens, const uint8_t* asked,
                    float* hidden, Stop* stop) {
  for (int begin = 0; begin < num_tokens; begin += kChunkRows) {
    const int rows = std::min(kChunkRows, num_tokens - begin);
    const int done = forward_chunk(tokens + begin, places + begin, rows, asked ? asked + begin : nullptr, hidden,
                                   stop);
    if (stop && stop->stopped()) return false;
    hidden += static_cast<int64_t>(done) * model_.shape().hidden;
  }
  return true;
}

// How many rows of hidden were written.
int Cache::forward_chunk(const int32_t* tokens, const int32_t* places, int num_tokens, const uint8_t* asked,
                         float* hidden, Stop* stop) {
  const Shape& shape = model_.shape();
  const RowPlan& plan = model_.schedule.of(num_tokens);
  Scratch& s = *scratch_;
  int longest = 0;
  for (int i = 0; i < num_tokens; ++i) longest = std::max(longest, rows_->lengths[places[i]]);
  s.resize(shape, model_.head_stride(), num_tokens, longest, plan);
  if (shape.activations != Activations::kF32)
    s.resize_prepared(model_.kernels(), shape, num_tokens, plan, any_sparse(model_.layers));
  collect_runs(places, num_tokens);
  s.asked.clear();
  for (int r = 0; r < num_tokens; ++r)
    if (asked == nullptr || asked[r]) s.asked.push_back(r);
  const auto task = [&](int thread, int num_threads) {
    Worker{*this, model_, s, plan, shape, model_.kernels(), places, thread, num_threads, num_tokens, stop}
        .run(tokens, s.asked, hidden);
  };
  if (plan.one_thread)
    task(0, 1);
  else
    model_.team().run([&](int thread) { task(thread, model_.team().active()); });
  return static_cast<int>(s.asked.size());
}

// The rows of the pass listed in `asked`, ascending, become its first and only ones.
void Cache::keep_rows(const std::vector<int>& asked) {
  Scratch& s = *scratch_;
  const int64_t heads = static_cast<int64_t>(model_.shape().num_heads) * model_.head_stride();
  size_t runs = 0;
  for (size_t j = 0; j < asked.size(); ++j) {
    const int r = asked[j];
    std::memmove(s.x.data() + j * s.hidden, s.x.data() + static_cast<int64_t>(r) * s.hidden, s.hidden * sizeof(float));
    std::memmove(s.rotated.data() + j * heads, s.rotated.data() + r * heads, heads * sizeof(float));
    const int begin = s.run_ptr[r], end = s.run_ptr[r + 1];
    s.run_ptr[j] = static_cast<int>(runs);
    for (int i = begin; i < end; ++i) s.runs[runs++] = s.runs[i];
  }
  s.run_ptr.resize(asked.size() + 1);
  s.run_ptr.back() = static_cast<int>(runs);
  s.collect_paths();
}

}  // namespace adtrie
