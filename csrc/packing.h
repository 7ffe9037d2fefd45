// Packed linears: canonical row-major codes in, panels of 16 outputs out. Packing only permutes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels.h"

namespace adtrie {

// Zero-filled memory in large aligned pieces (huge pages where the system allows), freed all at once.
class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  void* take(size_t bytes);  // 64-byte aligned; throws std::bad_alloc
  size_t used() const { return used_; }

 private:
  struct Piece {
    char* data;
    size_t size;
  };
  std::vector<Piece> pieces_;
  size_t offset_ = 0, used_ = 0;
};

Panels pack_f32(Arena& arena, const float* values, int num_outputs, int num_inputs);
// Rounded to the nearest bfloat16.
Panels pack_bf16(Arena& arena, const float* values, int num_outputs, int num_inputs);
// codes uint8 [N, K] (< 2^bits), scales and mins float16 bits [N, K/group]; mins may be nullptr.
Panels pack_quantized(Arena& arena, const uint8_t* codes, const uint16_t* scales, const uint16_t* mins, int bits,
                      int group, int num_outputs, int num_inputs);


// A linear stream as it is; memory that is not aligned for the kernels is copied, all other must outlive the panels.
struct PackedStream {
  const uint8_t* stream;  // 64-byte aligned, or copied
  const uint16_t* scales;
  const uint8_t* kept;    // copied
  int bits, group, num_outputs, num_inputs;
};
// Bytes of the stream of those panels; kept[p] must be 1, 2 or 4.
int64_t stream_bytes(const PackedStream& packed);
Panels refer(Arena& arena, const PackedStream& packed);

// Those outputs of a linear that is not sparse, in that order: a copy, each output to the bit.
Panels pick_outputs(Arena& arena, const Panels& w, const int32_t* outputs, int count);

// Row n of a packed linear as float32 [K] (embedding look-up).
void unpack_row(const Panels& w, int row, float* out);
// Codes [N, K] of a quantized linear, for tests; a pruned input has the code of zero.
void unpack_codes(const Panels& w, uint8_t* codes);
size_t packed_bytes(const Panels& w);

}  // namespace adtrie
