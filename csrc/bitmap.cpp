#include "bitmap.h"

#include <algorithm>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace adtrie {

int64_t EntryBits::first(int64_t lo, int64_t hi) const {
  if (words == nullptr) return lo;
  const int64_t last = (hi - 1) >> 6;
  int64_t word = lo >> 6;
  uint64_t bits = words[word] >> (lo & 63) << (lo & 63);
  while (bits == 0 && word < last) bits = words[++word];
  return bits == 0 ? hi - 1 : std::min(word * 64 + __builtin_ctzll(bits), hi - 1);
}

std::vector<uint32_t> ranks_of(const uint64_t* words, size_t num_words) {
  std::vector<uint32_t> ranks(num_words + 1);
  uint32_t before = 0;
  for (size_t i = 0; i < num_words; ++i) {
    ranks[i] = before;
    before += static_cast<uint32_t>(__builtin_popcountll(words[i]));
  }
  ranks[num_words] = before;
  return ranks;
}

namespace {

// Whether most of some entries lie in another word than the one before, as the first of them do.
bool is_sparse(const uint32_t* entries, size_t num_entries) {
  const size_t seen = std::min<size_t>(num_entries, 64);
  size_t apart = 0;
  for (size_t i = 1; i < seen; ++i) apart += entries[i] >> 6 != entries[i - 1] >> 6;
  return 4 * apart > seen;
}

}  // namespace

void mark(uint64_t* words, const uint32_t* entries, size_t num_entries, int64_t size) {
  if (is_sparse(entries, num_entries)) {
    for (size_t i = 0; i < num_entries; ++i)
      if (entries[i] < size) words[entries[i] >> 6] |= uint64_t{1} << (entries[i] & 63);
    return;
  }
  size_t word = 0;
  uint64_t found = 0;  // of `word`: neighbours do not wait for each other's stores
  for (size_t i = 0; i < num_entries; ++i) {
    const uint32_t entry = entries[i];
    if (entry >= size) continue;
    if (entry >> 6 != word) {
      if (found) words[word] |= found;
      word = entry >> 6;
      found = 0;
    }
    found |= uint64_t{1} << (entry & 63);
  }
  if (found) words[word] |= found;
}

void mark_ranges(uint64_t* words, const uint32_t* entries, const int64_t* first, const int64_t* last,
                 size_t num_ranges, int64_t size) {
  for (size_t i = 0; i < num_ranges; ++i)
    if (first[i] < last[i]) mark(words, entries + first[i], static_cast<size_t>(last[i] - first[i]), size);
}

namespace {

// The bits of 64 numbers that lie in one of the ranges [first[i], last[i]].
#if defined(__SSE2__)
uint64_t between(const uint8_t* numbers, const uint8_t* first, const uint8_t* last, size_t num_ranges) {
  __m128i in[4] = {}, some[4];
  for (int j = 0; j < 4; ++j) some[j] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers + 16 * j));
  for (size_t i = 0; i < num_ranges; ++i) {
    const __m128i from = _mm_set1_epi8(static_cast<char>(first[i]));
    const __m128i width = _mm_set1_epi8(static_cast<char>(last[i] - first[i]));
    for (int j = 0; j < 4; ++j) {  // number - from <= width, without a sign
      const __m128i above = _mm_subs_epu8(_mm_sub_epi8(some[j], from), width);
      in[j] = _mm_or_si128(in[j], _mm_cmpeq_epi8(above, _mm_setzero_si128()));
    }
  }
  uint64_t found = 0;
  for (int j = 0; j < 4; ++j)
    found |= static_cast<uint64_t>(static_cast<uint16_t>(_mm_movemask_epi8(in[j]))) << (16 * j);
  return found;
}
#else
uint64_t between(const uint8_t* numbers, const uint8_t* first, const uint8_t* last, size_t num_ranges) {
  uint64_t found = 0;
  for (int j = 0; j < 64; ++j) {
    bool in = false;
    for (size_t i = 0; i < num_ranges; ++i) in |= numbers[j] >= first[i] && numbers[j] <= last[i];
    found |= static_cast<uint64_t>(in) << j;
  }
  return found;
}
#endif

}  // namespace

void mark_between(uint64_t* words, const uint8_t* numbers, size_t num_rows, const uint8_t* first,
                  const uint8_t* last, size_t num_ranges) {
  const size_t whole = num_rows / 64, rest = num_rows % 64;
  for (size_t i = 0; i < whole; ++i) words[i] |= between(numbers + 64 * i, first, last, num_ranges);
  if (rest == 0) return;
  uint8_t some[64] = {};
  std::copy_n(numbers + 64 * whole, rest, some);
  words[whole] |= between(some, first, last, num_ranges) & ((uint64_t{1} << rest) - 1);
}

std::vector<uint64_t> without(const uint64_t* words, int64_t size, const uint32_t* places, size_t num_places) {
  std::vector<uint64_t> out((size + 63) / 64 + 1);
  int64_t from = 0, to = 0;
  for (size_t i = 0; i <= num_places; ++i) {
    const int64_t end = i < num_places ? std::min<int64_t>(places[i], size) : size;
    while (from < end) {  // as many bits as fit into the word that is written
      if (to % 64 == 0 && from % 64 != 0)  // which nearly always is a whole word
        for (; end - from >= 64; from += 64, to += 64)
          out[to >> 6] = words[from >> 6] >> (from & 63) | words[(from >> 6) + 1] << (64 - (from & 63));
      const int64_t count = std::min(64 - (to & 63), end - from);
      if (count == 0) break;
      uint64_t bits = words[from >> 6] >> (from & 63);
      if ((from & 63) + count > 64) bits |= words[(from >> 6) + 1] << (64 - (from & 63));
      if (count < 64) bits &= (uint64_t{1} << count) - 1;
      out[to >> 6] |= bits << (to & 63);
      from += count;
      to += count;
    }
    from = end + 1;
  }
  out.resize((to + 63) / 64);
  return out;
}

}  // namespace adtrie
