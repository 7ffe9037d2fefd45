#include "transformer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "linear.h"

namespace adtrie {
namespace {

constexpr int kChunkRows = 256;  // rows of one pass over the layers; more rows take several passes
constexpr int kFewRows = 2;      // up to here every thread prepares all inputs itself, which saves a barrier

// Which forms of its inputs the linears of a layer want besides floats.
struct Wanted {
  bool int8 = false, gather = false;
};

Wanted wanted_by(const Layer& layer, bool int8) {
  Wanted wanted;
  for (const Panels* w : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
    if (wants_int8(*w, int8)) wanted.int8 = true, wanted.gather = wanted.gather || w->sparse;
  return wanted;
}

int32_t* zeroed(size_t count) {
  void* data = std::calloc(count, sizeof(int32_t));  // large ones are committed as they are touched
  if (data == nullptr) throw std::bad_alloc();
  return static_cast<int32_t*>(data);
}

}  // namespace

RowMemory::RowMemory(size_t floats) : bytes_(floats * sizeof(float)) {
  void* data = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<float*>(data);
}

RowMemory::~RowMemory() { munmap(data_, bytes_); }

Transformer::Transformer(const Shape& shape, const KernelTable& kernels, int num_threads)
    : layers(shape.num_layers), shape_(shape), kernels_(kernels), team_(num_threads),
      head_stride_(padded(shape.head_size)) {}

Transformer::Transformer(const Transformer& weights, int num_threads)
    : layers(weights.layers), final_norm(weights.final_norm), rope_frequencies(weights.rope_frequencies),
      embed(weights.embed), head(weights.head), shape_(weights.shape_), kernels_(weights.kernels_),
      team_(num_threads), head_stride_(weights.head_stride_) {}

// Buffers of one pass. `local[0]` is shared by all threads unless the pass has few rows.
struct Cache::Scratch {
  struct Local {
    std::vector<float> normed, scores, out;
    Int8Buffer int8;
  };
  int hidden, q_width, kv_width, inner;  // padded column counts
  int path_stride = 0;                   // longest path of the pass, padded
  std::vector<float> x, q, k, v, rotated, attended, gate, up, cosines, sines;
  std::vector<Local> local;
  std::vector<Run> runs;
  std::vector<int> run_ptr;

  Scratch(const Shape& s, int head_stride, int num_threads)
      : hidden(padded(s.hidden)), q_width(padded(s.num_heads * s.head_size)),
        kv_width(padded(s.num_kv_heads * s.head_size)), inner(padded(s.intermediate)), local(num_threads) {
    for (Local& own : local) own.out.resize(static_cast<size_t>(kMaxQueries) * head_stride);
  }
  void resize(const Shape& s, int head_stride, int rows, int longest_path) {
    const auto grow = [rows](std::vector<float>& v, int64_t columns) {
      if (v.size() < static_cast<size_t>(rows * columns)) v.resize(rows * columns);
    };
    grow(x, hidden), grow(q, q_width), grow(k, kv_width), grow(v, kv_width), grow(attended, q_width);
    grow(rotated, static_cast<int64_t>(s.num_heads) * head_stride), grow(gate, inner), grow(up, inner);
    grow(cosines, s.head_size / 2), grow(sines, s.head_size / 2);
    path_stride = padded(longest_path);
    for (size_t i = 0; i < local.size(); ++i) {
      const size_t scores = kMaxQueries * static_cast<size_t>(path_stride);
      if (local[i].scores.size() < scores) local[i].scores.resize(scores);
      if (i == 0 || rows <= kFewRows) grow(local[i].normed, hidden);
    }
  }
};

CacheRows::CacheRows(const Shape& shape, int head_stride, int num_rows)
    : max_rows(padded(num_rows)),
      memory(static_cast<size_t>(2) * shape.num_layers * shape.num_kv_heads * head_stride * padded(num_rows)),
      lengths(zeroed(max_rows), std::free), parents(zeroed(max_rows), std::free),
      run_starts(zeroed(max_rows), std::free) {}

Cache::Cache(Transformer& model, std::shared_ptr<CacheRows> rows)
    : model_(model), rows_(std::move(rows)),
      scratch_(std::make_unique<Scratch>(model.shape(), model.head_stride(), model.team().size())) {}

Cache::~Cache() = default;

float* Cache::keys(int layer, int kv_head) const {
  const size_t cell = static_cast<size_t>(model_.head_stride()) * rows_->max_rows;
  return rows_->memory.data() + (static_cast<size_t>(layer) * model_.shape().num_kv_heads + kv_head) * 2 * cell;
}

float* Cache::values(int layer, int kv_head) const {
  return keys(layer, kv_head) + static_cast<size_t>(model_.head_stride()) * rows_->max_rows;
}

void Cache::collect_runs(const int32_t* places, int num_tokens) {
  Scratch& s = *scratch_;
  s.runs.clear();
  s.run_ptr.assign(1, 0);
  for (int i = 0; i < num_tokens; ++i) {
    const size_t begin = s.runs.size();
    for (int end = places[i]; end >= 0; end = rows_->parents[rows_->run_starts[end]])
      s.runs.push_back({rows_->run_starts[end], end - rows_->run_starts[end] + 1});
    std::reverse(s.runs.begin() + begin, s.runs.end());
    s.run_ptr.push_back(static_cast<int>(s.runs.size()));
  }
}

void Cache::forward(const int32_t* tokens, const int32_t* places, int num_tokens, float* hidden) {
  for (int begin = 0; begin < num_tokens; begin += kChunkRows)
    forward_chunk(tokens + begin, places + begin, std::min(kChunkRows, num_tokens - begin),
                  hidden + static_cast<int64_t>(begin) * model_.shape().hidden);
}

// Start of a pass: embeddings and rotary angles of rows [range).
void Cache::embed_rows(const int32_t* tokens, const int32_t* places, Range range) {
  Scratch& s = *scratch_;
  const int half = model_.shape().head_size / 2;
  for (int r = range.begin; r < range.end; ++r) {
    unpack_row(model_.embed, tokens[r], s.x.data() + static_cast<int64_t>(r) * s.hidden);
    for (int i = 0; i < half; ++i) {
      const float angle = static_cast<float>(rows_->lengths[places[r]] - 1) * model_.rope_frequencies[i];
      s.cosines[static_cast<int64_t>(r) * half + i] = std::cos(angle);
      s.sines[static_cast<int64_t>(r) * half + i] = std::sin(angle);
    }
  }
}

// One head of one row in place: bias, optional norm, rotation of the halves.
void Cache::rotate_head(float* head, const float* bias, const std::vector<float>& norm, int r) {
  const Shape& shape = model_.shape();
  const int size = shape.head_size, half = size / 2;
  if (bias)
    for (int i = 0; i < size; ++i) head[i] += bias[i];
  if (!norm.empty()) model_.kernels().rms_norm(head, norm.data(), shape.rms_epsilon, size, head);
  const float* cosine = scratch_->cosines.data() + static_cast<int64_t>(r) * half;
  const float* sine = scratch_->sines.data() + static_cast<int64_t>(r) * half;
  for (int i = 0; i < half; ++i) {
    const float a = head[i], b = head[i + half];
    head[i] = a * cosine[i] - b * sine[i];
    head[i + half] = b * cosine[i] + a * sine[i];
  }
}

// Item (r, h): h < num_heads is a query head, the others are key/value heads, which go to the cache.
void Cache::place_heads(int index, const int32_t* places, Range items) {
  Scratch& s = *scratch_;
  const Shape& shape = model_.shape();
  const Layer& layer = model_.layers[index];
  const int per_row = shape.num_heads + shape.num_kv_heads, size = shape.head_size, stride = model_.head_stride();
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  const float* bias = layer.qkv_bias.empty() ? nullptr : layer.qkv_bias.data();
  for (int item = items.begin; item < items.end; ++item) {
    const int r = item / per_row, h = item % per_row;
    if (h < shape.num_heads) {
      float* head = s.q.data() + static_cast<int64_t>(r) * s.q_width + h * size;
      rotate_head(head, bias ? bias + h * size : nullptr, layer.q_norm, r);
      float* out = s.rotated.data() + (static_cast<int64_t>(r) * shape.num_heads + h) * stride;
      for (int i = 0; i < size; ++i) out[i] = head[i] * scale;
      for (int i = size; i < stride; ++i) out[i] = 0.0f;
      continue;
    }
    const int kv = h - shape.num_heads, row = places[r];
    float* key = s.k.data() + static_cast<int64_t>(r) * s.kv_width + kv * size;
    const float* value = s.v.data() + static_cast<int64_t>(r) * s.kv_width + kv * size;
    rotate_head(key, bias ? bias + (shape.num_heads + kv) * size : nullptr, layer.k_norm, r);
    const float* value_bias = bias ? bias + (shape.num_heads + shape.num_kv_heads + kv) * size : nullptr;
    float* block = keys(index, kv) + static_cast<int64_t>(row / kPanel) * stride * kPanel + row % kPanel;
    float* slot = values(index, kv) + static_cast<int64_t>(row) * stride;
    for (int i = 0; i < size; ++i) {
      block[i * kPanel] = key[i];
      slot[i] = value_bias ? value[i] + value_bias[i] : value[i];
    }
  }
}

// Items are (rows, query heads of one key/value head) that fit one tile; single heads when there are few rows,
// so that all threads get some. Rows of a tile must begin at the same cache row, as those of one request do.
void Cache::attend_rows(int index, int num_tokens, int thread, int num_threads) {
  Scratch& s = *scratch_;
  const Shape& shape = model_.shape();
  const int stride = model_.head_stride(), shared = shape.num_heads / shape.num_kv_heads;
  const bool single_heads = num_tokens * shape.num_kv_heads < 4 * num_threads || shared > kMaxQueries;
  const int heads = single_heads ? 1 : shared, per_row = shape.num_heads / heads;
  const int tile_rows = single_heads ? 1 : kMaxQueries / heads, tiles = (num_tokens + tile_rows - 1) / tile_rows;
  Scratch::Local& own = s.local[thread];
  AttendTile tile{};
  tile.heads = heads, tile.d = stride, tile.scores = own.scores.data(), tile.ld = s.path_stride;
  const Range items = split(tiles * per_row, thread, num_threads);
  for (int item = items.begin; item < items.end; ++item) {
    const int head = item % per_row * heads, kv = head / shared, end = std::min((item / per_row + 1) * tile_rows, num_tokens);
    tile.keys = keys(index, kv), tile.values = values(index, kv);
    for (int r = item / per_row * tile_rows; r < end;) {
      const int first = r;
      for (tile.num_rows = 0; r < end && s.runs[s.run_ptr[r]].start == s.runs[s.run_ptr[first]].start; ++r) {
        tile.runs[tile.num_rows] = s.runs.data() + s.run_ptr[r];
        tile.num_runs[tile.num_rows] = s.run_ptr[r + 1] - s.run_ptr[r];
        for (int h = 0; h < heads; ++h) {
          tile.q[tile.num_rows * heads + h] =
              s.rotated.data() + (static_cast<int64_t>(r) * shape.num_heads + head + h) * stride;
          tile.out[tile.num_rows * heads + h] = own.out.data() + (tile.num_rows * heads + h) * stride;
        }
        ++tile.num_rows;
      }
      model_.kernels().attend(tile);
      for (int i = 0; i < tile.num_rows * heads; ++i) {
        float* out = s.attended.data() + static_cast<int64_t>(first + i / heads) * s.q_width;
        std::memcpy(out + (head + i % heads) * shape.head_size, tile.out[i], shape.head_size * sizeof(float));
      }
    }
  }
}

void Cache::forward_chunk(const int32_t* tokens, const int32_t* places, int num_tokens, float* hidden) {
  const Shape& shape = model_.shape();
  const KernelTable& kernels = model_.kernels();
  ThreadTeam& team = model_.team();
  Scratch& s = *scratch_;
  const int num_threads = team.size(), items = num_tokens * (shape.num_heads + shape.num_kv_heads);
  int longest = 0;
  for (int i = 0; i < num_tokens; ++i) longest = std::max(longest, rows_->lengths[places[i]]);
  s.resize(shape, model_.head_stride(), num_tokens, longest);
  collect_runs(places, num_tokens);
  const bool few = num_tokens <= kFewRows, int8 = shape.int8_activations;
  const int widest = std::max({shape.hidden, shape.num_heads * shape.head_size, shape.intermediate});
  bool sparse = false;
  for (const Layer& layer : model_.layers) sparse = sparse || wanted_by(layer, int8).gather;
  for (int i = 0; i < (few ? num_threads : 1); ++i) {
    s.local[i].int8.resize(num_tokens, widest);
    if (sparse) s.local[i].int8.resize_gather(num_tokens, widest);
  }

  team.run([&](int thread) {
    Scratch::Local& own = few ? s.local[thread] : s.local[0];
    const Range mine = split(num_tokens, thread, num_threads), rows = few ? Range{0, num_tokens} : mine;
    // 8-bit form of input rows: by every thread for itself when few, else shared out and met at a barrier.
    const auto prepare = [&](Wanted wanted, const float* values, int64_t stride, int width) {
      if (wanted.int8 && width % kBlock == 0)
        for (int r = rows.begin; r < rows.end; ++r)
          own.int8.quantize(kernels, r, values + r * stride, width, wanted.gather);
      if (!few) team.barrier();
      return Inputs{values, stride, &own.int8};
    };
    const auto normalise = [&](const std::vector<float>& weight, Wanted wanted) {
      for (int r = rows.begin; r < rows.end; ++r)
        kernels.rms_norm(s.x.data() + static_cast<int64_t>(r) * s.hidden, weight.data(), shape.rms_epsilon,
                         shape.hidden, own.normed.data() + static_cast<int64_t>(r) * s.hidden);
      return prepare(wanted, own.normed.data(), s.hidden, shape.hidden);
    };
    const auto apply = [&](const Panels& w, const Inputs& x, float* y, int64_t stride, bool add) {
      const Range panels = split(w.num_panels, thread, num_threads);
      multiply(kernels, w, panels.begin, panels.end, x, int8, 0, num_tokens, y, stride, add);
    };

    embed_rows(tokens, places, mine);
    team.barrier();
    for (int index = 0; index < shape.num_layers; ++index) {
      const Layer& layer = model_.layers[index];
      const Wanted wanted = wanted_by(layer, int8);
      const Inputs attention_in = normalise(layer.attn_norm, wanted);
      apply(layer.q, attention_in, s.q.data(), s.q_width, false);
      apply(layer.k, attention_in, s.k.data(), s.kv_width, false);
      apply(layer.v, attention_in, s.v.data(), s.kv_width, false);
      team.barrier();
      place_heads(index, places, split(items, thread, num_threads));
      team.barrier();
      attend_rows(index, num_tokens, thread, num_threads);
      team.barrier();
      const Inputs heads = prepare(wanted, s.attended.data(), s.q_width, shape.num_heads * shape.head_size);
      apply(layer.o, heads, s.x.data(), s.hidden, true);
      if (!layer.o_bias.empty()) {
        const Range panels = split(layer.o.num_panels, thread, num_threads);
        for (int r = 0; r < num_tokens; ++r)
          for (int c = panels.begin * kPanel; c < std::min(panels.end * kPanel, shape.hidden); ++c)
            s.x[static_cast<int64_t>(r) * s.hidden + c] += layer.o_bias[c];
      }
      team.barrier();
      const Inputs mlp_in = normalise(layer.mlp_norm, wanted);
      apply(layer.gate, mlp_in, s.gate.data(), s.inner, false);
      apply(layer.up, mlp_in, s.up.data(), s.inner, false);
      const Range panels = split(layer.gate.num_panels, thread, num_threads);
      for (int r = 0; r < num_tokens; ++r) {
        const int64_t at = static_cast<int64_t>(r) * s.inner + panels.begin * kPanel;
        kernels.swiglu(s.gate.data() + at, s.up.data() + at, (panels.end - panels.begin) * kPanel, s.gate.data() + at);
      }
      team.barrier();
      const Inputs inner = prepare(wanted, s.gate.data(), s.inner, shape.intermediate);
      apply(layer.down, inner, s.x.data(), s.hidden, true);
      team.barrier();
    }
    for (int r = mine.begin; r < mine.end; ++r)
      kernels.rms_norm(s.x.data() + static_cast<int64_t>(r) * s.hidden, model_.final_norm.data(), shape.rms_epsilon,
                       shape.hidden, hidden + static_cast<int64_t>(r) * shape.hidden);
  });
}

}  // namespace adtrie
