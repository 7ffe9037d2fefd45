#include "packing.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

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

// Byte and nibble shift of the code of (lane, input k) inside its panel.
struct CodePlace {
  int64_t byte;
  int shift;
};

CodePlace place(Format format, int lane, int k) {
  if (format == Format::kQ8) return {static_cast<int64_t>(k / 4) * 64 + lane * 4 + k % 4, 0};
  return {static_cast<int64_t>(k / 8) * 64 + lane * 4 + k % 4, k % 8 < 4 ? 0 : 4};
}

int code_of(const Panels& w, int row, int k) {
  const CodePlace at = place(w.format, row % kPanel, k);
  const uint8_t byte = static_cast<const uint8_t*>(w.data)[row / kPanel * panel_bytes(w) + at.byte];
  return w.format == Format::kQ8 ? byte : (byte >> at.shift) & 15;
}

uint16_t* pack_halves(Arena& arena, const uint16_t* values, int num_outputs, int groups) {
  const int panels = padded_panels(num_outputs);
  auto* out = static_cast<uint16_t*>(arena.take(static_cast<size_t>(panels) * groups * kPanel * 2));
  for (int n = 0; n < num_outputs; ++n)
    for (int g = 0; g < groups; ++g)
      out[(static_cast<int64_t>(n / kPanel) * groups + g) * kPanel + n % kPanel] =
          values[static_cast<int64_t>(n) * groups + g];
  return out;
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
  const int64_t bytes = panel_bytes(w);
  auto* out = static_cast<uint8_t*>(arena.take(static_cast<size_t>(w.num_panels) * bytes));
  for (int n = 0; n < num_outputs; ++n) {
    uint8_t* panel = out + n / kPanel * bytes;
    const uint8_t* row = codes + static_cast<int64_t>(n) * num_inputs;
    for (int k = 0; k < num_inputs; ++k) {
      const CodePlace at = place(w.format, n % kPanel, k);
      panel[at.byte] = static_cast<uint8_t>(panel[at.byte] | row[k] << at.shift);
    }
  }
  w.data = out;
  w.scales = pack_halves(arena, scales, num_outputs, num_inputs / group);
  if (mins) w.mins = pack_halves(arena, mins, num_outputs, num_inputs / group);
  return w;
}

void unpack_row(const Panels& w, int row, float* out) {
  if (w.format == Format::kF32) {
    const float* panel = static_cast<const float*>(w.data) + static_cast<int64_t>(row / kPanel) * w.num_inputs * kPanel;
    for (int k = 0; k < w.num_inputs; ++k) out[k] = panel[static_cast<int64_t>(k) * kPanel + row % kPanel];
    return;
  }
  const int groups = w.num_inputs / w.group;
  for (int g = 0; g < groups; ++g) {
    const int64_t at = (static_cast<int64_t>(row / kPanel) * groups + g) * kPanel + row % kPanel;
    const float scale = half_to_float(w.scales[at]), minimum = w.mins ? half_to_float(w.mins[at]) : 0.0f;
    for (int k = g * w.group; k < (g + 1) * w.group; ++k) {
      const int code = code_of(w, row, k);
      out[k] = w.mins ? scale * static_cast<float>(code) + minimum : scale * static_cast<float>(code - w.zero);
    }
  }
}

void unpack_codes(const Panels& w, uint8_t* codes) {
  for (int n = 0; n < w.num_outputs; ++n)
    for (int k = 0; k < w.num_inputs; ++k)
      codes[static_cast<int64_t>(n) * w.num_inputs + k] = static_cast<uint8_t>(code_of(w, n, k));
}

size_t packed_bytes(const Panels& w) {
  size_t total = static_cast<size_t>(w.num_panels) * panel_bytes(w);
  if (w.group > 0)
    total += static_cast<size_t>(w.num_panels) * (w.num_inputs / w.group) * kPanel * (w.mins ? 4 : 2);
  return total;
}

}  // namespace adtrie
