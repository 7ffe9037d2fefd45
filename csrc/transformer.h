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

namespace adtrie {

struct Shape {
  int num_layers, hidden, intermediate, num_heads, num_kv_heads, head_size, vocab, max_positions;
  float rms_epsilon;
  bool int8_activations;  // for quantized weights; false: float activations
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

  Arena arena;
  std::vector<std::shared_ptr<const void>> borrowed;  // memory that linears refer to
  size_t borrowed_bytes = 0;
  std::vector<Layer> layers;
  std::vector<float> final_norm, rope_frequencies;  // rope_frequencies [head_size / 2]
  Panels embed, head;
  Schedule schedule;

  const Shape& shape() const { return shape_; }
  const KernelTable& kernels() const { return kernels_; }
  ThreadTeam& team() { return team_; }
  StageClock& clock() { return clock_; }
  int head_stride() const { return head_stride_; }

 private:
  Shape shape_;
  const KernelTable& kernels_;
  ThreadTeam team_;
  StageClock clock_;
  int head_stride_;  // head_size rounded up to whole vectors of 16
};

// Keys and values of the rows of one token tree. Row i continues row parents[i] (-1: the beginning).
class Cache {
 public:
  Cache(Transformer& model, int max_rows);
  ~Cache();

  int num_rows() const { return static_cast<int>(parents_.size()); }
  int max_rows() const { return max_rows_; }
  void truncate(int num_rows);

  // Appends T rows; hidden float[rows asked for, H] after the final norm, asked uint8[T] or all where null. Tokens,
  // parents and room are checked by the caller.
  void forward(const int32_t* tokens, const int32_t* parents, int num_tokens, const uint8_t* asked, float* hidden);
  // Position of row i, counted from the beginning of its path.
  int position(int row) const { return positions_[row]; }

 private:
  struct Scratch;
  struct Worker;
  int forward_chunk(const int32_t* tokens, int first, int num_tokens, const uint8_t* asked, float* hidden);
  void keep_rows(const std::vector<int>& asked);
  void append_rows(const int32_t* parents, int num_tokens);
  void collect_runs(int first, int num_tokens);
  void embed_rows(const int32_t* tokens, int first, Range range);
  void rotate_head(float* head, const float* bias, const std::vector<float>& norm, int r);
  void place_heads(int index, Range rows, Range heads);
  void place_head(int index, int r, int h);
  bool attends_int8(int index) const;  // the 8-bit form of its output comes with it
  void attend_rows(int index, int num_tokens, int thread, int num_threads);
  float* keys(int layer, int kv_head) const;
  float* values(int layer, int kv_head) const;

  Transformer& model_;
  int max_rows_;
  int first_ = 0;  // cache row of the first row of the pass
  RowMemory memory_;
  std::unique_ptr<Scratch> scratch_;
  std::vector<int32_t> parents_, positions_, run_starts_;
};

// Child scores: for rows r of hidden [R, H], children tokens[ptr[r], ptr[r+1]) ascending, to out[C] the
// log-probability over the whole vocabulary (raw) or over the listed children (renormalised).
void child_scores(Transformer& model, const float* hidden, int num_rows, const int64_t* ptr, const int32_t* tokens,
                  bool renormalise, float* out);
// Full logits float[R, V].
void full_logits(Transformer& model, const float* hidden, int num_rows, float* out);

}  // namespace adtrie
