#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "scratch.h"

namespace adtrie {
namespace {

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
    : layers(shape.num_layers), shape_(shape), kernels_(kernels), clock_(num_threads),
      head_stride_(padded(shape.head_size)), team_(num_threads) {}

Transformer::Transformer(const Transformer& weights, int num_threads)
    : layers(weights.layers), final_norm(weights.final_norm), rope_frequencies(weights.rope_frequencies),
      embed(weights.embed), head(weights.head), schedule(weights.schedule), shape_(weights.shape_),
      kernels_(weights.kernels_), clock_(num_threads), head_stride_(weights.head_stride_), team_(num_threads) {}

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
  s.collect_paths();
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

// One head of one row: bias and optional norm in place; rotation of the halves, scaled, to out.
void Cache::rotate_head(float* head, const float* bias, const std::vector<float>& norm, int r, float scale, float* out) {
  const Shape& shape = model_.shape();
  const int size = shape.head_size, half = size / 2;
  if (bias)
    for (int i = 0; i < size; ++i) head[i] += bias[i];
  if (!norm.empty()) model_.kernels().rms_norm(head, norm.data(), shape.rms_epsilon, size, head);
  const float* cosine = scratch_->cosines.data() + static_cast<int64_t>(r) * half;
  const float* sine = scratch_->sines.data() + static_cast<int64_t>(r) * half;
  model_.kernels().rotate(head, cosine, sine, half, scale, out);
}

// The lines that keys and values of rows [range) will be written to come into the caches meanwhile.
void Cache::fetch_places(int index, const int32_t* places, Range range, Range kv_heads) const {
  const int stride = model_.head_stride();
  for (int kv = kv_heads.begin; kv < kv_heads.end; ++kv) {
    int block = -1;
    for (int r = range.begin; r < range.end; ++r) {
      const float* value = values(index, kv) + static_cast<int64_t>(places[r]) * stride;
      for (int i = 0; i < stride; i += kPanel) __builtin_prefetch(value + i, 1, 2);
      if (places[r] / kPanel == block) continue;
      block = places[r] / kPanel;
      const float* key = keys(index, kv) + static_cast<int64_t>(block) * stride * kPanel;
      for (int i = 0; i < stride; ++i) __builtin_prefetch(key + i * kPanel, 1, 2);
    }
  }
}

// Heads [heads) of rows [range): below num_heads query heads, the others key/value heads, which go to the cache.
void Cache::place_heads(int index, const int32_t* places, Range range, Range heads) {
  for (int r = range.begin; r < range.end; ++r)
    for (int h = heads.begin; h < heads.end; ++h) place_head(index, r, h, places[r]);
}

void Cache::place_head(int index, int r, int h, int place) {
  Scratch& s = *scratch_;
  const Shape& shape = model_.shape();
  const Layer& layer = model_.layers[index];
  const int size = shape.head_size, stride = model_.head_stride();
  const float* bias = layer.qkv_bias.empty() ? nullptr : layer.qkv_bias.data();
  if (h < shape.num_heads) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(size));
    float* head = s.q.data() + static_cast<int64_t>(r) * s.q_width + h * size;
    float* out = s.rotated.data() + (static_cast<int64_t>(r) * shape.num_heads + h) * stride;
    rotate_head(head, bias ? bias + h * size : nullptr, layer.q_norm, r, scale, out);
    for (int i = size; i < stride; ++i) out[i] = 0.0f;
    return;
  }
  const int kv = h - shape.num_heads, row = place;
  float* key = s.k.data() + static_cast<int64_t>(r) * s.kv_width + kv * size;
  rotate_head(key, bias ? bias + (shape.num_heads + kv) * size : nullptr, layer.k_norm, r, 1.0f, key);
  float* block = keys(index, kv) + static_cast<int64_t>(row / kPanel) * stride * kPanel + row % kPanel;
  for (int i = 0; i < size; ++i) block[i * kPanel] = key[i];
  const float* value = s.v.data() + static_cast<int64_t>(r) * s.kv_width + kv * size;
  const float* value_bias = bias ? bias + (shape.num_heads + shape.num_kv_heads + kv) * size : nullptr;
  float* slot = values(index, kv) + static_cast<int64_t>(row) * stride;
  if (value_bias)
    for (int i = 0; i < size; ++i) slot[i] = value[i] + value_bias[i];
  else
    std::memcpy(slot, value, size * sizeof(float));
}

bool Cache::attends_prepared(int index) const {
  const Activations form = taken(model_.layers[index].o, model_.shape().activations);
  return form == Activations::kBF16 || (form == Activations::kI8 && model_.shape().head_size % kBlock == 0);
}

// What of a pass a thread attends to: query heads of all rows where the rows fit one tile of queries (heads of one
// key/value head are then shared out too: of three such one of two threads would have two), else rows of each `heads`
// heads after those of the heads before, which keeps keys and values near.
struct AttendShare {
  AttendShare(const Shape& shape, int num_tokens, int thread, int num_threads)
      : heads(shape.num_heads / shape.num_kv_heads > kMaxQueries ? 1 : shape.num_heads / shape.num_kv_heads),
        whole_rows(num_tokens <= kMaxQueries / heads),
        own(split(whole_rows ? shape.num_heads : shape.num_heads / heads * num_tokens, thread, num_threads)) {}
  int heads;  // that are attended together
  bool whole_rows;
  Range own;
};

constexpr int kFetchedLines = 128;  // two blocks of heads of 64

// The first keys that this thread attends to come into the caches meanwhile; the others follow while it attends.
void Cache::fetch_keys(int index, int num_tokens, int thread, int num_threads) const {
  const Shape& shape = model_.shape();
  const AttendShare share(shape, num_tokens, thread, num_threads);
  const int head = share.whole_rows ? share.own.begin : share.own.begin / num_tokens * share.heads;
  const int kv = head / (shape.num_heads / shape.num_kv_heads), stride = model_.head_stride();
  const Run first = scratch_->runs[0];
  const float* key = keys(index, kv) + static_cast<int64_t>(first.start / kPanel) * kPanel * stride;
  const int lines = std::min(kFetchedLines, padded(first.length) / kPanel * stride);
  for (int i = 0; i < lines; ++i) __builtin_prefetch(key + i * kPanel, 0, 2);
}

void Cache::attend_rows(int index, int num_tokens, int thread, int num_threads) {
  const auto [heads, whole_rows, own] = AttendShare(model_.shape(), num_tokens, thread, num_threads);
  if (whole_rows) {
    for (int head = own.begin, end; head < own.end; head = end) {
      end = std::min((head / heads + 1) * heads, own.end);
      attend_heads(index, {0, num_tokens}, {head, end}, thread);
    }
    return;
  }
  for (int item = own.begin, end; item < own.end; item = end) {
    const int first = item / num_tokens * num_tokens, head = item / num_tokens * heads;
    end = std::min(first + num_tokens, own.end);
    attend_heads(index, {item - first, end - first}, {head, head + heads}, thread);
  }
}

// Rows of any groups, and heads that have their keys in common.
void Cache::attend_heads(int index, Range rows, Range of_heads, int thread) {
  Scratch& s = *scratch_;
  const Shape& shape = model_.shape();
  const int stride = model_.head_stride(), kv = of_heads.begin / (shape.num_heads / shape.num_kv_heads);
  const int head = of_heads.begin, heads = of_heads.end - of_heads.begin;
  const bool prepared = attends_prepared(index);
  const Panels& o = model_.layers[index].o;
  Scratch::Local& own = s.local[thread];
  AttendTile tile{};
  tile.heads = heads, tile.d = stride, tile.ld = s.path_stride;
  tile.keys = keys(index, kv), tile.values = values(index, kv);
  tile.next_keys = keys(index, std::min(kv + 1, shape.num_kv_heads - 1));
  tile.q_stride = static_cast<int64_t>(shape.num_heads) * stride;
  tile.runs = s.runs.data(), tile.passes = s.paths.passes.data();
  tile.out = own.out.data(), tile.scores = own.scores.data(), tile.tails = own.tails.data(), tile.turned = own.turned.data();
  for (const RowGroup& group : s.paths.groups) {
    const Range part = {std::max(rows.begin, group.begin), std::min(rows.end, group.end)};
    if (part.begin >= part.end) continue;
    tile.begin = part.begin - group.begin, tile.end = part.end - group.begin;
    tile.q = s.rotated.data() + group.begin * tile.q_stride + static_cast<int64_t>(head) * stride;
    tile.run_ptr = s.run_ptr.data() + group.begin;
    tile.shared = group.shared, tile.tail_stride = group.tail_stride;
    tile.blocks = s.paths.blocks.data() + group.first_block, tile.num_blocks = group.num_blocks;
    model_.kernels().attend(tile);
    const float* out = tile.out;
    for (int r = part.begin; r < part.end; ++r)
      for (int h = head; h < head + heads; ++h, out += stride) {
        const int column = h * shape.head_size;
        if (prepared)
          s.for_o.prepare_part(model_.kernels(), shape.activations, r, out, shape.num_heads * shape.head_size, column,
                               shape.head_size, o.sparse);
        else
          std::memcpy(s.attended.data() + static_cast<int64_t>(r) * s.q_width + column, out,
                      shape.head_size * sizeof(float));
      }
  }
}

}  // namespace adtrie
