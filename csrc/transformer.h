// One forward over a token tree: rows of a decoder-only transformer (RMSNorm, grouped-query attention, rope,
// SwiGLU), each continuing any earlier cache row. Knows no files, no tokenizer and no search.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kernels.h"
#include "packing.h"
#include "parallel.h"
#include "schedule.h"
#include "stage_clock.h"
#include "stop.h"

namespace adtrie {

struct Shape {
  int num_layers, hidden, intermediate, num_heads, num_kv_heads, head_size, vocab, max_positions;
  float rms_epsilon;
  Activations activations;
};

struct Layer {
  std::vector<float> attn_norm, mlp_norm, q_norm, k_norm, qkv_bias, o_bias;  // empty where the family has none
  Panels q, k, v, o, gate, up, down;
};

// Anonymous memory reserved up front and committed by the system as it is touched, so rows never move.
class RowMemory {
 public:
  explicit RowMemory(size_t floats);
  ~RowMemory();
  RowMemory(const RowMemory&) = delete;
  RowMemory& operator=(const RowMemory&) = delete;
  float* data() const { return data_; }

 private:
  float* data_;
  size_t bytes_;
};

class Transformer {
 public:
  Transformer(const Shape& shape, const KernelTable& kernels, int num_threads);
  // The same weights with threads of its own; `weights` must outlive it.
  Transformer(const Transformer& weights, int num_threads);

  Arena arena;
  std::vector<std::shared_ptr<const void>> borrowed;  // memory that linears refer to
  size_t borrowed_bytes = 0;
  std::vector<Layer> layers;
  std::vector<float> final_norm, rope_frequencies;  // rope_frequencies [head_size / 2]
  Panels embed, head;
  Panels frequent;                   // copies of the head's outputs that usually hold nearly all of the probability
  std::vector<uint8_t> is_frequent;  // by token; empty until they are chosen
  Schedule schedule;

  const Shape& shape() const { return shape_; }
  const KernelTable& kernels() const { return kernels_; }
  ThreadTeam& team() { return team_; }
  StageClock& clock() { return clock_; }
  int head_stride() const { return head_stride_; }

 private:
  Shape shape_;
  const KernelTable& kernels_;
  StageClock clock_;
  int head_stride_;  // head_size rounded up to whole vectors of 16
  ThreadTeam team_;  // last: a thread that was left by its task still uses the clock
};

// Keys and values of rows and where each row stands. Row i continues row parents[i] (-1: the beginning).
struct CacheRows {
  CacheRows(const Shape& shape, int head_stride, int num_rows);

  bool is_fed(int row) const { return lengths[row] > 0; }
  // Row `row`, not fed, continues `parent`, which is fed or -1.
  void place(int row, int parent) {
    run_starts[row] = row > 0 && parent == row - 1 ? run_starts[parent] : row;
    lengths[row] = parent < 0 ? 1 : lengths[parent] + 1;
    parents[row] = parent;
  }

  const int max_rows;
  RowMemory memory;
  // Committed as rows are used. lengths: tokens on the path to a row, itself included; 0: not fed.
  std::unique_ptr<int32_t[], void (*)(void*)> lengths, parents, run_starts;
};

// One forward at a time over rows, which several caches of models on the same weights may share: then each feeds
// rows that no other feeds or continues at that moment.
class Cache {
 public:
  Cache(Transformer& model, std::shared_ptr<CacheRows> rows);
  ~Cache();

  CacheRows& rows() const { return *rows_; }
  std::shared_ptr<CacheRows> share_rows() const { return rows_; }
  // Feeds T rows that were placed, places int32[T], each after its parent; hidden float[rows asked for, H] after the
  // final norm, asked uint8[T], all where null. False where `stop` (may be null) ended it: the
  // rows then hold nothing and must lose their places.
  bool forward(const int32_t* tokens, const int32_t* places, int num_tokens, const uint8_t* asked, float* hidden,
               Stop* stop);

 private:
  struct Scratch;
  struct Worker;
  int forward_chunk(const int32_t* tokens, const int32_t* places, int num_tokens, const uint8_t* asked, float* hidden,
                    Stop* stop);
  void keep_rows(const std::vector<int>& asked);
  void collect_runs(const int32_t* places, int num_tokens);
  void embed_rows(const int32_t* tokens, const int32_t* places, Range range);
  void rotate_head(float* head, const float* bias, const std::vector<float>& norm, int r, float scale, float* out);
  void place_heads(int index, const int32_t* places, Range rows, Range heads);
  void fetch_places(int index, const int32_t* places, Range rows, Range kv_heads) const;
  void place_head(int index, int r, int h, int place);
  bool attends_prepared(int index) const;  // its output comes in the form that the next linear takes
  void fetch_keys(int index, int num_tokens, int thread, int num_threads) const;
  void attend_rows(int index, int num_tokens, int thread, int num_threads);
  void attend_heads(int index, Range rows, Range heads, int thread);
  float* keys(int layer, int kv_head) const;
  float* values(int layer, int kv_head) const;

  Transformer& model_;
  std::shared_ptr<CacheRows> rows_;
  std::unique_ptr<Scratch> scratch_;
};

// What a child's probability is a share of: the vocabulary, its frequent tokens and the listed children, or these alone.
enum class Normaliser { kFull, kFrequent, kChildren };

// Child scores: for rows r of hidden [R, H], children tokens[ptr[r], ptr[r+1]) ascending, to out[C] their
// log-probabilities. False where `stop` (may be null) ended it.
bool child_scores(Transformer& model, const float* hidden, int num_rows, const int64_t* ptr, const int32_t* tokens,
                  Normaliser normaliser, float* out, Stop* stop);
// Full logits float[R, V].
void full_logits(Transformer& model, const float* hidden, int num_rows, float* out);

}  // namespace adtrie
