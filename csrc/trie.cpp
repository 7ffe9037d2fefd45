#include "trie.h"

#include <algorithm>
#include <cstring>

namespace adtrie {

namespace {

constexpr int64_t kListedAbove = 256;
constexpr int64_t kBack = 256;  // entries looked back one by one before the listed nodes are asked

// The first of bytes[from:end] that is `value`, else end; eight at a time.
int64_t next_equal(const uint8_t* bytes, int64_t from, int64_t end, int64_t value) {
  constexpr uint64_t kLow = 0x7F7F7F7F7F7F7F7F;
  const uint64_t pattern = 0x0101010101010101 * static_cast<uint64_t>(value & 255);
  for (; from + 8 <= end; from += 8) {
    uint64_t x;
    std::memcpy(&x, bytes + from, 8);
    x ^= pattern;
    const uint64_t equal = ~(((x & kLow) + kLow) | x | kLow);  // the top bit of each byte of x that is zero
    if (equal) return from + (__builtin_ctzll(equal) >> 3);
  }
  while (from < end && bytes[from] != static_cast<uint8_t>(value)) ++from;
  return from;
}

int64_t clip(int64_t value, int64_t low, int64_t high) { return std::min(std::max(value, low), high); }

}  // namespace

int64_t EntryBits::rank(int64_t entry) const {
  const int64_t word = entry >> 6, below = entry & 63;
  return ranks[word] + (below == 0 ? 0 : __builtin_popcountll(words[word] << (64 - below)));
}

int64_t EntryBits::count(int64_t lo, int64_t hi) const {
  if (words == nullptr) return hi - lo;
  if (hi - lo > 64) return rank(hi) - rank(lo);
  const int64_t first = lo >> 6, last = (hi - 1) >> 6;
  const uint64_t from = words[first] >> (lo & 63) << (lo & 63);
  const int64_t above = 63 - ((hi - 1) & 63);
  if (first == last) return __builtin_popcountll(from << above);
  return __builtin_popcountll(from) + __builtin_popcountll(words[last] << above);
}

int64_t EntryBits::first(int64_t lo, int64_t hi) const {
  if (words == nullptr) return lo;
  const int64_t last = (hi - 1) >> 6;
  int64_t word = lo >> 6;
  uint64_t bits = words[word] >> (lo & 63) << (lo & 63);
  while (bits == 0 && word < last) bits = words[++word];
  return bits == 0 ? hi - 1 : std::min(word * 64 + __builtin_ctzll(bits), hi - 1);
}

void mark(uint64_t* words, const uint32_t* entries, size_t num_entries, int64_t size) {
  size_t word = 0;
  uint64_t found = 0;  // of `word`: neighbours, which most are, do not wait for each other's stores
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

std::vector<uint64_t> without(const uint64_t* words, int64_t size, const uint32_t* places, size_t num_places) {
  std::vector<uint64_t> out((size + 63) / 64 + 1);
  int64_t from = 0, to = 0;
  for (size_t i = 0; i <= num_places; ++i) {
    const int64_t end = i < num_places ? std::min<int64_t>(places[i], size) : size;
    while (from < end) {  // as many bits as fit into the word that is written
      const int64_t count = std::min(64 - (to & 63), end - from);
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

void ChildList::add(int32_t token, int64_t first, int64_t last, bool leaf) {
  tokens.push_back(token);
  lo.push_back(first);
  hi.push_back(last);
  is_leaf.push_back(leaf);
}

TrieChildren::TrieChildren(const TrieArrays& arrays) : a_(arrays) {
  by_depth_.reserve(a_.num_listed);
  for (size_t i = 0; i < a_.num_listed; ++i)
    by_depth_.emplace_back((a_.key[i] & 255) << 32 | a_.key[i] >> 8, static_cast<int64_t>(a_.key_hi[i]));
  std::sort(by_depth_.begin(), by_depth_.end());
}

ChildList TrieChildren::children(const NodeList& nodes, const EntryBits& eligible) const {
  ChildList out;
  out.ptr.reserve(nodes.size + 1);
  out.ptr.push_back(0);
  for (size_t i = 0; i < nodes.size; ++i) {
    append(nodes.lo[i], nodes.hi[i], nodes.depth[i], eligible, out);
    out.ptr.push_back(static_cast<int64_t>(out.tokens.size()));
  }
  return out;
}

void TrieChildren::append(int64_t lo, int64_t hi, int64_t depth, const EntryBits& eligible,
                          ChildList& out) const {
  lo = clip(lo, 0, a_.num_entries);
  hi = clip(hi, 0, a_.num_entries);
  if (lo >= hi) return;
  if (hi - lo > kListedAbove) {
    const int64_t key = lo * 256 + depth;
    const size_t slot = std::lower_bound(a_.key, a_.key + a_.num_listed, key) - a_.key;
    if (slot < a_.num_listed && a_.key[slot] == key && a_.key_hi[slot] == hi) {
      const size_t end = std::min<size_t>(a_.ptr[slot + 1], a_.num_first);
      for (size_t at = a_.ptr[slot]; at < end; ++at) {
        const int64_t start = clip(a_.first[at], lo, hi - 1);
        const int64_t stop = at + 1 < end ? clip(a_.first[at + 1], start + 1, hi) : hi;
        child(start, stop, depth, eligible, out);
      }
      return;
    }
  }
  int64_t start = lo;
  for (int64_t entry = next_equal(a_.shared, lo + 1, hi, depth); entry < hi;
       entry = next_equal(a_.shared, entry + 1, hi, depth)) {
    child(start, entry, depth, eligible, out);
    start = entry;
  }
  child(start, hi, depth, eligible, out);
}

// The child of a node at `depth` that holds the entries [lo, hi), unless none of them is eligible.
void TrieChildren::child(int64_t lo, int64_t hi, int64_t depth, const EntryBits& eligible,
                         ChildList& out) const {
  if (eligible.words != nullptr) {
    const int64_t count = eligible.count(lo, hi);
    if (count == 0) return;
    if (count == 1 && hi - lo > 1) {
      const int32_t token = token_at(lo, depth);  // the first entry of the child is likelier to hold it
      lo = eligible.first(lo, hi);
      out.add(token, lo, lo + 1, length(lo) <= depth + 1 || depth + 1 >= a_.max_depth);
      return;
    }
  }
  const bool leaf = (hi - lo == 1 && length(lo) <= depth + 1) || depth + 1 >= a_.max_depth;
  out.add(token_at(lo, depth), lo, hi, leaf);
}

int64_t TrieChildren::length(int64_t entry) const {
  const int64_t own = static_cast<int64_t>(a_.offsets[entry + 1]) - a_.offsets[entry];
  return clip(own + a_.shared[entry], 1, a_.max_depth);
}

int32_t TrieChildren::token_at(int64_t entry, int64_t depth) const {
  if (a_.shared[entry] > depth) entry = holder(entry, depth);
  const int64_t edge = static_cast<int64_t>(a_.offsets[entry]) + depth - a_.shared[entry];
  const int64_t at = clip(edge, 0, static_cast<int64_t>(a_.num_edges) - 1);
  const int64_t token =
      a_.wide ? static_cast<const uint32_t*>(a_.edges)[at] : static_cast<const uint16_t*>(a_.edges)[at];
  return static_cast<int32_t>(std::min(token, a_.vocab_size - 1));
}

// The last entry up to `entry` that shares at most `depth` tokens with the one before: it stores that token.
int64_t TrieChildren::holder(int64_t entry, int64_t depth) const {
  const int64_t stop = by_depth_.empty() ? 0 : std::max<int64_t>(entry - kBack, 0);
  for (int64_t at = entry; at >= stop; --at)
    if (a_.shared[at] <= depth) return at;
  const int64_t key = (depth + 1) << 32;
  auto next = std::upper_bound(by_depth_.begin(), by_depth_.end(), std::make_pair(key + entry, INT64_MAX));
  if (next != by_depth_.begin()) {
    const auto& [found, hi] = *--next;
    if (found >> 32 == depth + 1 && hi > entry) return clip(found & 0xFFFFFFFF, 0, entry);
  }
  return entry;
}

namespace {

// The children on one side of the node that holds its entries [lo, hi), with bounds as that side numbers them.
void append_side(const TrieChildren& side, const EntryBits& live, int64_t lo, int64_t hi, int64_t depth,
                 ChildList& out) {
  out.tokens.clear();
  out.lo.clear();
  out.hi.clear();
  out.is_leaf.clear();
  if (live.words != nullptr && hi > lo) {
    lo = clip(lo, 0, side.num_entries() - 1);
    hi = clip(hi, lo + 1, side.num_entries());
    const int64_t count = live.count(lo, hi);
    if (count == 0) return;
    if (count == 1) {  // the other side may have widened the node
      lo = live.first(lo, hi);
      hi = lo + 1;
    }
  }
  side.append(lo, hi, depth, live, out);
}

}  // namespace

ChildList MergedChildren::children(const NodeList& nodes) const {
  const int64_t* at_end = added_at + added.num_entries();
  ChildList out, of_base, of_added;
  out.ptr.reserve(nodes.size + 1);
  out.ptr.push_back(0);
  for (size_t i = 0; i < nodes.size; ++i) {
    const int64_t depth = nodes.depth[i];
    const int64_t first = std::lower_bound(added_at, at_end, nodes.lo[i]) - added_at;
    const int64_t last = std::lower_bound(added_at + first, at_end, nodes.hi[i]) - added_at;
    append_side(base, base_live, nodes.lo[i] - first, nodes.hi[i] - last, depth, of_base);
    if (first < last) append_side(added, added_live, first, last, depth, of_added);
    // Children come in order, so the gaps before their first and last entries are counted on. Entries added
    // outside the node stand before or after all of its base entries.
    int64_t before_first = first, before_last = first;
    const auto position = [&](int64_t entry, int64_t& before) {
      while (before < last && gaps[before] <= entry) ++before;
      return entry + before;
    };
    const size_t num_base = of_base.tokens.size(), num_added = first < last ? of_added.tokens.size() : 0;
    for (size_t b = 0, a = 0; b < num_base || a < num_added;) {
      const bool take_base = a == num_added || (b < num_base && of_base.tokens[b] <= of_added.tokens[a]);
      const bool take_added = b == num_base || (a < num_added && of_added.tokens[a] <= of_base.tokens[b]);
      int64_t lo = INT64_MAX, hi = 0;
      if (take_base) {
        lo = position(of_base.lo[b], before_first);
        hi = position(of_base.hi[b] - 1, before_last) + 1;
      }
      if (take_added) {
        lo = std::min(lo, added_at[of_added.lo[a]]);
        hi = std::max(hi, added_at[of_added.hi[a] - 1] + 1);
      }
      if (take_base && take_added)
        out.add(of_base.tokens[b], lo, hi, false);
      else
        out.add(take_base ? of_base.tokens[b] : of_added.tokens[a], lo, hi,
                take_base ? of_base.is_leaf[b] : of_added.is_leaf[a]);
      b += take_base;
      a += take_added;
    }
    out.ptr.push_back(static_cast<int64_t>(out.tokens.size()));
  }
  return out;
}

}  // namespace adtrie
