// Children of trie nodes: the fast twin of catalogue/trie.py, eligible.py and merged.py, which define it.
// Knows no Python. Arrays are borrowed; lookups are clipped, so that damaged arrays give wrong children, no crash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "bitmap.h"

namespace adtrie {

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
  size_t size = 0;  // children; the arrays are longer until `finish`

  // Makes sure that `count` more can be added.
  void reserve(size_t count);
  void add(int32_t token, int64_t first, int64_t last, bool leaf) { set(size++, token, first, last, leaf); }
  void set(size_t at, int32_t token, int64_t first, int64_t last, bool leaf) {
    tokens[at] = token;
    lo[at] = first;
    hi[at] = last;
    is_leaf[at] = leaf;
  }
  // Moves the children [begin, end) so that they end at `to`, to the right.
  void move(size_t begin, size_t end, size_t to);
  void finish();
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
  int64_t max_depth() const { return a_.max_depth; }

 private:
  template <bool kEvery>
  void append_as(int64_t lo, int64_t hi, int64_t depth, const EntryBits& eligible, ChildList& out) const;
  template <bool kEvery>
  void child(int64_t lo, int64_t hi, int64_t depth, const EntryBits& eligible, int64_t& before,
             ChildList& out) const;
  void fetch(int64_t entry, const EntryBits& eligible) const;
  void fetch_token(int64_t entry) const;
  const void* edge(int64_t at) const;
  int32_t token_at(int64_t entry, int64_t depth) const;
  int64_t holder(int64_t entry, int64_t depth) const;

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

 private:
  void merge(const ChildList& of_added, int64_t depth, size_t begin, ChildList& out, std::vector<size_t>& at) const;
};

}  // namespace adtrie
