// Children of trie nodes: the fast twin of catalogue/trie.py, eligible.py and merged.py, which define it.
// Knows no Python. Arrays are borrowed; lookups are clipped, so that damaged arrays give wrong children, no crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace adtrie {

// A set of entries: bit e % 64 of words[e / 64], and the members before each word. Null words: every entry.
struct EntryBits {
  const uint64_t* words = nullptr;
  const uint32_t* ranks = nullptr;

  // Members of [lo, hi), 0 <= lo < hi <= the number of entries; and the first of them, hi - 1 when there is none.
  int64_t count(int64_t lo, int64_t hi) const;
  int64_t first(int64_t lo, int64_t hi) const;

 private:
  int64_t rank(int64_t entry) const;
};

// Sets the bits of the entries below `size`.
void mark(uint64_t* words, const uint32_t* entries, size_t num_entries, int64_t size);

// The words of the bits that are left when those at `places`, ascending, are taken out and later ones move up.
std::vector<uint64_t> without(const uint64_t* words, int64_t size, const uint32_t* places, size_t num_places);

// Nodes (lo, hi, depth); and the children of nodes as catalogue/nodes.py has them.
struct NodeList {
  const int64_t* lo;
  const int64_t* hi;
  const int64_t* depth;
  size_t size;
};

struct ChildList {
  std::vector<int64_t> ptr;
  std::vector<int32_t> tokens;
  std::vector<int64_t> lo, hi;
  std::vector<uint8_t> is_leaf;

  void add(int32_t token, int64_t first, int64_t last, bool leaf);
};

// The arrays of a catalogue.Trie; tokens are 2 or 4 bytes wide. The last ones: nodes of more than 256 entries, all
// of them or none.
struct TrieArrays {
  const void* edges;
  bool wide;
  size_t num_edges;
  const uint32_t* offsets;
  const uint8_t* shared;
  int64_t num_entries;
  const int64_t* key;
  const uint32_t* key_hi;
  const uint32_t* ptr;
  const uint32_t* first;
  size_t num_listed, num_first;
  int64_t max_depth;
  int64_t vocab_size;
};

class TrieChildren {
 public:
  explicit TrieChildren(const TrieArrays& arrays);

  ChildList children(const NodeList& nodes, const EntryBits& eligible) const;
  // Appends the children of one node that hold an eligible entry.
  void append(int64_t lo, int64_t hi, int64_t depth, const EntryBits& eligible, ChildList& out) const;
  int64_t num_entries() const { return a_.num_entries; }

 private:
  void child(int64_t lo, int64_t hi, int64_t depth, const EntryBits& eligible, ChildList& out) const;
  int32_t token_at(int64_t entry, int64_t depth) const;
  int64_t holder(int64_t entry, int64_t depth) const;
  int64_t length(int64_t entry) const;

  TrieArrays a_;
  std::vector<std::pair<int64_t, int64_t>> by_depth_;  // (depth << 32 | lo, hi) of the listed nodes, ascending
};

// A trie and sequences added to it: gaps[j] is the entry of base that follows added entry j.
struct MergedChildren {
  const TrieChildren& base;
  const TrieChildren& added;
  EntryBits base_live, added_live;
  const int64_t* gaps;
  const int64_t* added_at;  // gaps[j] + j

  ChildList children(const NodeList& nodes) const;
};

}  // namespace adtrie
