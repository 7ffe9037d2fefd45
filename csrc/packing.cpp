#include "packing.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "stream.h"

namespace adtrie {
namespace {

constexpr size_t kPiece = size_t{32} << 20, kHugePage = size_t{2} << 20;

float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;  // 2^-24
    return sign ? -magnitude : magnitude;
  }
  const uint32_t bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}

int padded_panels(int num_outputs) { return (num_outputs + kPanel - 1) / kPanel; }

uint16_t* pack_halves(Arena& arena, const uint16_t* values, int num_outputs, int groups) {
  const int panels = padded_panels(num_outputs);
  auto* out = static_cast<uint16_t*>(arena.take(static_cast<size_t>(panels) * groups * kPanel * 2));
  for (int n = 0; n < num_outputs; ++n)
    for (int g = 0; g < groups; ++g)
      out[(static_cast<int64_t>(n / kPanel) * groups + g) * kPanel + n % kPanel] =
          values[static_cast<int64_t>(n) * groups + g];
  return out;
}

const void* aligned(Arena& arena, const void* data, size_t bytes, size_t alignment) {
  if (reinterpret_cast<uintptr_t>(data) % alignment == 0) return data;
  void* copy = arena.take(bytes);
  std::memcpy(copy, data, bytes);
  return copy;
}

}  // namespace

Arena::~Arena() {
  for (const Piece& piece : pieces_) munmap(piece.data, piece.size);
}

void* Arena::take(size_t bytes) {
  bytes = (bytes + 63) & ~size_t{63};
  if (pieces_.empty() || offset_ + bytes > pieces_.back().size) {
    const size_t size = ((bytes > kPiece ? bytes : kPiece) + kHugePage - 1) & ~(kHugePage - 1);
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    madvise(data, size, MADV_HUGEPAGE);
#endif
    pieces_.push_back({static_cast<char*>(data), size});
    offset_ = 0;
  }
  void* out = pieces_.back().data + offset_;
  offset_ += bytes;
  used_ += bytes;
  return out;
}

Panels pack_f32(Arena& arena, const float* values, int num_outputs, int num_inputs) {
  Panels w;
  w.num_outputs = num_outputs, w.num_inputs = num_inputs, w.num_panels = padded_panels(num_outputs);
  auto* out = static_cast<float*>(arena.take(static_cast<size_t>(w.num_panels) * num_inputs * kPanel * 4));
  for (int n = 0; n < num_outputs; ++n) {
    float* panel = out + static_cast<int64_t>(n / kPanel) * num_inputs * kPanel + n % kPanel;
    for (int k = 0; k < num_inputs; ++k)
      panel[static_cast<int64_t>(k) * kPanel] = values[static_cast<int64_t>(n) * num_inputs + k];
  }
  w.data = out;
  return w;
}

Panels pack_quantized(Arena& arena, const uint8_t* codes, const uint16_t* scales, const uint16_t* mins, int bits,
                      int group, int num_outputs, int num_inputs) {
  Panels w;
  w.format = bits == 4 ? Format::kQ4 : Format::kQ8;
  w.num_outputs = num_outputs, w.num_inputs = num_inputs, w.num_panels = padded_panels(num_outputs);
  w.group = group, w.zero = 1 << (bits - 1);
  const int64_t bytes = panel_bytes(w.format, num_inputs);
  const int step = bits == 4 ? 8 : 4;
  auto* out = static_cast<uint8_t*>(arena.take(static_cast<size_t>(w.num_panels) * bytes));
  for (int n = 0; n < num_outputs; ++n) {
    uint8_t* panel = out + n / kPanel * bytes;
    const uint8_t* row = codes + static_cast<int64_t>(n) * num_inputs;
    for (int k = 0; k < num_inputs; ++k) {
      uint8_t* byte = panel + k / step * 64 + n % kPanel * 4 + k % 4;
      *byte = static_cast<uint8_t>(*byte | row[k] << (k % step < 4 ? 0 : 4));
    }
  }
  w.data = out;
  w.scales = pack_halves(arena, scales, num_outputs, num_inputs / group);
  if (mins) w.mins = pack_halves(arena, mins, num_outputs, num_inputs / group);
  return w;
}

Panels pack_bf16(Arena& arena, const float* values, int num_outputs, int num_inputs) {
  Panels w;
  w.format = Format::kBF16;
  w.num_outputs = num_outputs, w.num_inputs = num_inputs, w.num_panels = padded_panels(num_outputs);
  const int64_t bytes = panel_bytes(w.format, num_inputs);
  auto* out = static_cast<uint16_t*>(arena.take(static_cast<size_t>(w.num_panels) * bytes));
  for (int n = 0; n < num_outputs; ++n) {
    uint16_t* panel = out + n / kPanel * (bytes / 2) + n % kPanel * 2;
    for (int k = 0; k < num_inputs; ++k)
      panel[k / 2 * 32 + k % 2] = nearest_bf16(values[static_cast<int64_t>(n) * num_inputs + k]);
  }
  w.data = out;
  return w;
}

int64_t stream_bytes(const PackedStream& packed) {
  Panels w;
  w.format = Format::kMixed, w.zero = 1 << (packed.bits - 1), w.kept = packed.kept;
  int64_t total = 0;
  for (int p = 0; p < padded_panels(packed.num_outputs); ++p)
    total += panel_bytes(panel_format(w, p), packed.num_inputs);
  return total;
}

Panels refer(Arena& arena, const PackedStream& packed) {
  Panels w;
  w.format = Format::kMixed;
  w.num_outputs = packed.num_outputs, w.num_inputs = packed.num_inputs;
  w.num_panels = padded_panels(packed.num_outputs);
  w.group = packed.group, w.zero = 1 << (packed.bits - 1);
  auto* kept = static_cast<uint8_t*>(arena.take(w.num_panels));
  auto* offsets = static_cast<int64_t*>(arena.take((w.num_panels + size_t{1}) * sizeof(int64_t)));
  std::memcpy(kept, packed.kept, w.num_panels);
  w.kept = kept, w.offsets = offsets;
  offsets[0] = 0;
  for (int p = 0; p < w.num_panels; ++p) {
    offsets[p + 1] = offsets[p] + panel_bytes(panel_format(w, p), w.num_inputs);
    w.sparse = w.sparse || kept[p] != 4;
  }
  w.data = aligned(arena, packed.stream, static_cast<size_t>(offsets[w.num_panels]), 64);
  if (!w.sparse) w.format = w.zero == 8 ? Format::kQ4 : Format::kQ8, w.kept = nullptr, w.offsets = nullptr;
  const size_t halves = static_cast<size_t>(w.num_panels) * (w.num_inputs / w.group) * kPanel;
  w.scales = static_cast<const uint16_t*>(aligned(arena, packed.scales, halves * 2, alignof(uint16_t)));
  return w;
}

Panels pick_outputs(Arena& arena, const Panels& w, const int32_t* outputs, int count) {
  constexpr int kLane = 4, kVector = kLane * kPanel;  // every dense form has lanes of four bytes
  Panels out = w;
  out.num_outputs = count, out.num_panels = padded_panels(count);
  out.kept = nullptr, out.offsets = nullptr;
  const int64_t bytes = panel_bytes(w.format, w.num_inputs), groups = w.group > 0 ? w.num_inputs / w.group : 0;
  auto* data = static_cast<uint8_t*>(arena.take(static_cast<size_t>(out.num_panels) * bytes));
  const size_t halves = static_cast<size_t>(out.num_panels) * groups * kPanel;
  auto* scales = w.scales ? static_cast<uint16_t*>(arena.take(halves * 2)) : nullptr;
  auto* mins = w.mins ? static_cast<uint16_t*>(arena.take(halves * 2)) : nullptr;
  for (int i = 0; i < count; ++i) {
    const int from = outputs[i] % kPanel, to = i % kPanel;
    const uint8_t* source = panel_data(w, outputs[i] / kPanel);
    for (int64_t at = 0; at < bytes; at += kVector)
      std::memcpy(data + i / kPanel * bytes + at + to * kLane, source + at + from * kLane, kLane);
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t a = scales_at(w, outputs[i] / kPanel) + g * kPanel + from, b = (i / kPanel * groups + g) * kPanel + to;
      scales[b] = w.scales[a];
      if (mins) mins[b] = w.mins[a];
    }
  }
  out.data = data, out.scales = scales, out.mins = mins;
  return out;
}

void unpack_row(const Panels& w, int row, float* out) {
  if (w.format == Format::kF32) {
    const float* panel = static_cast<const float*>(w.data) + static_cast<int64_t>(row / kPanel) * w.num_inputs * kPanel;
    for (int k = 0; k < w.num_inputs; ++k) out[k] = panel[static_cast<int64_t>(k) * kPanel + row % kPanel];
    return;
  }
  if (w.format == Format::kBF16) {
    const auto* panel = reinterpret_cast<const uint16_t*>(panel_data(w, row / kPanel)) + row % kPanel * 2;
    for (int k = 0; k < w.num_inputs; ++k) {
      const uint32_t word = static_cast<uint32_t>(panel[k / 2 * 32 + k % 2]) << 16;
      std::memcpy(out + k, &word, sizeof word);
    }
    return;
  }
  const int groups = w.num_inputs / w.group, zero = w.mins ? 0 : w.zero;
  const uint8_t* panel = panel_data(w, row / kPanel);
  const Format form = panel_format(w, row / kPanel);
  for (int g = 0; g < groups; ++g) {
    const int64_t at = scales_at(w, row / kPanel) + g * kPanel + row % kPanel;
    const float scale = half_to_float(w.scales[at]), minimum = w.mins ? half_to_float(w.mins[at]) : 0.0f;
    for (int k = g * w.group; k < (g + 1) * w.group; ++k) {
      const auto value = static_cast<float>(value_at(panel, form, zero, row % kPanel, k));
      out[k] = w.mins ? scale * value + minimum : scale * value;
    }
  }
}

void unpack_codes(const Panels& w, uint8_t* codes) {
  for (int n = 0; n < w.num_outputs; ++n)
    for (int k = 0; k < w.num_inputs; ++k) {
      const int panel = n / kPanel;
      const int value = value_at(panel_data(w, panel), panel_format(w, panel), w.zero, n % kPanel, k);
      codes[static_cast<int64_t>(n) * w.num_inputs + k] = static_cast<uint8_t>(value + w.zero);
    }
}

size_t packed_bytes(const Panels& w) {
  const size_t panels = w.num_panels;
  size_t total = w.offsets ? static_cast<size_t>(w.offsets[panels]) : panels * panel_bytes(w.format, w.num_inputs);
  if (w.group > 0) total += panels * (w.num_inputs / w.group) * kPanel * (w.mins ? 4 : 2);
  return total;
}

}  // namespace adtrie
