// Sets of entries as bits: counts, ranks and what filters mark. The fast twin of catalogue/bitmap.py and row_order.py,
// which define it. Knows no trie and no Python. Arrays are borrowed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace adtrie {

// A set of entries: bit e % 64 of words[e / 64], and the members before each word. Null words: every entry.
struct EntryBits {
  const uint64_t* words = nullptr;
  const uint32_t* ranks = nullptr;

  // Members before an entry, 0 <= entry <= the number of entries.
  int64_t rank(int64_t entry) const {
    if (words == nullptr) return entry;
    const int64_t word = entry >> 6, below = entry & 63;
    return ranks[word] + (below == 0 ? 0 : __builtin_popcountll(words[word] << (64 - below)));
  }

  // The first member of [lo, hi), lo < hi; hi - 1 when there is none.
  int64_t first(int64_t lo, int64_t hi) const;
};

// uint32[num_words + 1]: the bits that are set before each word.
std::vector<uint32_t> ranks_of(const uint64_t* words, size_t num_words);

// Sets the bits of the entries below `size`.
void mark(uint64_t* words, const uint32_t* entries, size_t num_entries, int64_t size);

// Sets the bits of entries[first[i]:last[i]] of each range, 0 <= first, last <= the number of entries.
void mark_ranges(uint64_t* words, const uint32_t* entries, const int64_t* first, const int64_t* last,
                 size_t num_ranges, int64_t size);

// Sets the bits of the rows whose number lies in one of the ranges [first[i], last[i]].
void mark_between(uint64_t* words, const uint8_t* numbers, size_t num_rows, const uint8_t* first,
                  const uint8_t* last, size_t num_ranges);

// The words of the bits that are left when those at `places`, ascending, are taken out and later ones move up.
std::vector<uint64_t> without(const uint64_t* words, int64_t size, const uint32_t* places, size_t num_places);

}  // namespace adtrie
