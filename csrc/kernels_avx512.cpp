// AVX-512 F/BW/VL/DQ + VNNI. Compiled with those flags for this file only; called only where the CPU has them.
#include "kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__)
#include <immintrin.h>

namespace adtrie {
namespace {

using vf = __m512;
constexpr int W = 16;
inline vf vset(float x) { return _mm512_set1_ps(x); }
inline vf vload(const float* p) { return _mm512_loadu_ps(p); }
inline void vstore(float* p, vf v) { _mm512_storeu_ps(p, v); }
inline vf vadd(vf a, vf b) { return _mm512_add_ps(a, b); }
inline vf vsub(vf a, vf b) { return _mm512_sub_ps(a, b); }
inline vf vmul(vf a, vf b) { return _mm512_mul_ps(a, b); }
inline vf vdiv(vf a, vf b) { return _mm512_div_ps(a, b); }
inline vf vmax(vf a, vf b) { return _mm512_max_ps(a, b); }
inline vf vmin(vf a, vf b) { return _mm512_min_ps(a, b); }
inline vf vfma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
inline vf vround(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vf vscale2(vf a, vf n) { return _mm512_scalef_ps(a, n); }
inline vf vhalf(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline vf vcode(const uint8_t* p, int j, int nibble, int zero) {
  const __m512i word = _mm512_loadu_si512(p);
  const __m512i code = _mm512_and_si512(_mm512_srli_epi32(word, 8 * j + (nibble == 1 ? 4 : 0)),
                                        _mm512_set1_epi32(nibble < 0 ? 255 : 15));
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(code, _mm512_set1_epi32(zero)));
}

}  // namespace
}  // namespace adtrie

#include "kernels_float.h"

namespace adtrie {
namespace {

inline __m512i broadcast4(const int8_t* p) {
  int32_t four;
  std::memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}

// R rows x P panels. Weights are unsigned codes, activations signed: vpdpbusd(acc, codes, x). The zero point
// enters as the start value -zero * sum(x), so integers stay exact; a float minimum is one fma per block.
constexpr int kStep = 4, kRows = 6;  // panels and rows of one pass over a piece of the weights

// Memory to fetch while a tile computes: `lines` cache lines from `next`, spread over its blocks.
struct Ahead {
  const char* next;
  int lines;
};

template <bool Q4, bool MINS, int R, int P>
inline void tile_q_i8(const Panels& w, int panel, const Int8Rows& x, int row, float* y, int64_t ys, bool add,
                      Ahead ahead) {
  const int blocks = w.num_inputs / kBlock, per_group = w.group / kBlock, groups = w.num_inputs / w.group;
  constexpr int kChunks = Q4 ? 4 : 8, kBlockBytes = kChunks * 64;
  const int64_t panel_bytes = static_cast<int64_t>(blocks) * kBlockBytes;
  const uint8_t* codes = static_cast<const uint8_t*>(w.data) + panel * panel_bytes;
  const int8_t* xs = x.codes + row * x.stride;
  const float* steps = x.scales + static_cast<int64_t>(row) * blocks;
  const int32_t* sums = x.sums + static_cast<int64_t>(row) * blocks;
  const __m512i mask = _mm512_set1_epi8(15);
  __m512 total[R][P];
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) total[r][p] = _mm512_setzero_ps();
  int group_block = 0;
  const int fetch = (ahead.lines + blocks - 1) / blocks;
  int64_t at = static_cast<int64_t>(panel) * groups * kPanel;
  for (int b = 0; b < blocks; ++b, codes += kBlockBytes, xs += kBlock) {
    for (int i = 0; i < fetch; ++i, ahead.next += 64) _mm_prefetch(ahead.next, _MM_HINT_T1);
    __m512i acc[R][P];
    for (int r = 0; r < R; ++r) {
      const __m512i start = MINS ? _mm512_setzero_si512() : _mm512_set1_epi32(-w.zero * sums[r * blocks + b]);
      for (int p = 0; p < P; ++p) acc[r][p] = start;
    }
    for (int c = 0; c < kChunks; ++c) {
      __m512i low[P], high[P];
      for (int p = 0; p < P; ++p) {
        low[p] = _mm512_loadu_si512(codes + p * panel_bytes + c * 64);
        if (Q4) {
          high[p] = _mm512_and_si512(_mm512_srli_epi16(low[p], 4), mask);
          low[p] = _mm512_and_si512(low[p], mask);
        }
      }
      for (int r = 0; r < R; ++r) {
        const int8_t* four = xs + r * x.stride + c * (Q4 ? 8 : 4);
        const __m512i first = broadcast4(four);
        for (int p = 0; p < P; ++p) acc[r][p] = _mm512_dpbusd_epi32(acc[r][p], low[p], first);
        if (Q4) {
          const __m512i second = broadcast4(four + 4);
          for (int p = 0; p < P; ++p) acc[r][p] = _mm512_dpbusd_epi32(acc[r][p], high[p], second);
        }
      }
    }
    for (int p = 0; p < P; ++p) {
      const int64_t cell = at + static_cast<int64_t>(p) * groups * kPanel;
      const vf scale = vhalf(w.scales + cell);
      vf minimum;
      if (MINS) minimum = vhalf(w.mins + cell);
      for (int r = 0; r < R; ++r) {
        const float step = steps[r * blocks + b];
        total[r][p] = vfma(_mm512_cvtepi32_ps(acc[r][p]), vmul(scale, vset(step)), total[r][p]);
        if (MINS)
          total[r][p] = vfma(minimum, vset(step * static_cast<float>(sums[r * blocks + b])), total[r][p]);
      }
    }
    if (++group_block == per_group) group_block = 0, at += kPanel;
  }
  for (int r = 0; r < R; ++r)
    for (int p = 0; p < P; ++p) {
      float* out = y + (row + r) * ys + (panel + p) * kPanel;
      vstore(out, add ? vadd(vload(out), total[r][p]) : total[r][p]);
    }
}

template <bool Q4, bool MINS, int R>
void rows_q_i8(const Panels& w, int begin, int end, const Int8Rows& x, int row, float* y, int64_t ys, bool add,
               Ahead ahead) {
  constexpr int P = R <= 2 ? 4 : 2;
  const int share = ahead.lines * P / kStep;
  int p = begin;
  for (; p + P <= end; p += P, ahead.next += share * 64)
    tile_q_i8<Q4, MINS, R, P>(w, p, x, row, y, ys, add, {ahead.next, share});
  for (; p < end; ++p) tile_q_i8<Q4, MINS, R, 1>(w, p, x, row, y, ys, add, {nullptr, 0});
}

void fetch_halves(const uint16_t* halves, int64_t count) {
  for (int64_t i = 0; i < count; i += 32) _mm_prefetch(reinterpret_cast<const char*>(halves + i), _MM_HINT_T1);
}

// A few panels at a time over all rows: the panels are decoded from the nearest cache for every tile of rows,
// which meanwhile fetches its share of the next panels. With one tile the hardware's prefetcher does as well.
template <bool Q4, bool MINS>
void panels_q_i8(const Panels& w, int begin, int end, const Int8Rows& x, int rows, float* y, int64_t ys, bool add) {
  const int64_t bytes = panel_bytes(w);
  const int tiles = (rows + kRows - 1) / kRows;
  for (int p = begin; p < end; p += kStep) {
    const int stop = p + kStep < end ? p + kStep : end, next = stop + kStep < end ? kStep : end - stop;
    const char* data = static_cast<const char*>(w.data) + stop * bytes;
    const int lines = tiles > 1 ? static_cast<int>(next * bytes / 64 / tiles) : 0;
    if (tiles > 1) {
      const int64_t halves = static_cast<int64_t>(w.num_inputs / w.group) * kPanel;
      fetch_halves(w.scales + stop * halves, next * halves);
      if (MINS) fetch_halves(w.mins + stop * halves, next * halves);
    }
    int r = 0;
    for (; r + kRows <= rows; r += kRows, data += lines * 64)
      rows_q_i8<Q4, MINS, kRows>(w, p, stop, x, r, y, ys, add, {data, lines});
    switch (rows - r) {
      case 5: rows_q_i8<Q4, MINS, 5>(w, p, stop, x, r, y, ys, add, {data, lines}); break;
      case 4: rows_q_i8<Q4, MINS, 4>(w, p, stop, x, r, y, ys, add, {data, lines}); break;
      case 3: rows_q_i8<Q4, MINS, 3>(w, p, stop, x, r, y, ys, add, {data, lines}); break;
      case 2: rows_q_i8<Q4, MINS, 2>(w, p, stop, x, r, y, ys, add, {data, lines}); break;
      case 1: rows_q_i8<Q4, MINS, 1>(w, p, stop, x, r, y, ys, add, {data, lines}); break;
      default: break;
    }
  }
}

void gemm_q_i8(const Panels& w, int begin, int end, const Int8Rows& x, int rows, float* y, int64_t ys, bool add) {
  const bool q4 = w.format == Format::kQ4;
  auto run = q4 ? (w.mins ? panels_q_i8<true, true> : panels_q_i8<true, false>)
                : (w.mins ? panels_q_i8<false, true> : panels_q_i8<false, false>);
  run(w, begin, end, x, rows, y, ys, add);
}

void quantize_row(const float* x, int n, int8_t* codes, float* scales, int32_t* sums) {
  for (int b = 0; b < n / kBlock; ++b) {
    const vf first = vload(x + b * kBlock), second = vload(x + b * kBlock + 16);
    const float peak = _mm512_reduce_max_ps(vmax(_mm512_abs_ps(first), _mm512_abs_ps(second)));
    const vf inverse = vset(peak > 0.0f ? 127.0f / peak : 0.0f);
    const __m512i q0 = _mm512_cvtps_epi32(vround(vmul(first, inverse)));
    const __m512i q1 = _mm512_cvtps_epi32(vround(vmul(second, inverse)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + b * kBlock), _mm512_cvtepi32_epi8(q0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + b * kBlock + 16), _mm512_cvtepi32_epi8(q1));
    scales[b] = peak / 127.0f;
    sums[b] = _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
  }
}

uint64_t read_bytes(const void* data, size_t len) {
  const char* p = static_cast<const char*>(data);
  __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
  for (size_t i = 0; i + 256 <= len; i += 256) {
    a = _mm512_xor_si512(a, _mm512_loadu_si512(p + i));
    b = _mm512_xor_si512(b, _mm512_loadu_si512(p + i + 64));
    c = _mm512_xor_si512(c, _mm512_loadu_si512(p + i + 128));
    d = _mm512_xor_si512(d, _mm512_loadu_si512(p + i + 192));
  }
  a = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(a));
}

}  // namespace

const KernelTable* avx512_kernels() {
  static const KernelTable table = {"avx512", gemm_f32, gemm_q_f32, gemm_q_i8,   quantize_row,
                                    rms_norm, swiglu,   attend,     log_sum_exp, read_bytes};
  return &table;
}

}  // namespace adtrie
#else
namespace adtrie {
const KernelTable* avx512_kernels() { return nullptr; }
}  // namespace adtrie
#endif
