#include "trie.h"

#include <algorithm>
#include <cstring>

namespace adtrie {

namespace {

constexpr int64_t kListedAbove = 256;
constexpr int64_t kBack = 256;  // entries looked back before the listed nodes are asked
constexpr int64_t kBlock = 16;
constexpr size_t kAhead = 8;  // nodes or children whose arrays are fetched while earlier ones are looked at

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

// The numbers below `value` of `size` ascending ones, found without a branch that depends on them.
int64_t num_below(const int64_t* numbers, int64_t size, int64_t value) {
  const int64_t* at = numbers;
  while (size > 1) {
    const int64_t half = size / 2;
    at += at[half - 1] < value ? half : 0;
    size -= half;
  }
  return at - numbers + (size == 1 && *at < value);
}

}  // namespace

void ChildList::reserve(size_t count) {
  if (size + count <= tokens.size()) return;
  const size_t room = std::max(size + count, 2 * tokens.size());
  tokens.resize(room);
  lo.resize(room);
  hi.resize(room);
  is_leaf.resize(room);
}

void ChildList::move(size_t begin, size_t end, size_t to) {
  std::move_backward(tokens.begin() + begin, tokens.begin() + end, tokens.begin() + to);
  std::move_backward(lo.begin() + begin, lo.begin() + end, lo.begin() + to);
  std::move_backward(hi.begin() + begin, hi.begin() + end, hi.begin() + to);
  std::move_backward(is_leaf.begin() + begin, is_leaf.begin() + end, is_leaf.begin() + to);
}

void ChildList::finish() {
  tokens.resize(size);
  lo.resize(size);
  hi.resize(size);
  is_leaf.resize(size);
}

TrieChildren::TrieChildren(const TrieArrays& arrays) : a_(arrays) {
  by_depth_.reserve(a_.num_listed);
  for (size_t i = 0; i < a_.num_listed; ++i)
    by_depth_.emplace_back((a_.key[i] & 255) << 32 | a_.key[i] >> 8, static_cast<int64_t>(a_.key_hi[i]));
  std::sort(by_depth_.begin(), by_depth_.end());
}

inline const void* TrieChildren::edge(int64_t at) const {
  return a_.wide ? static_cast<const void*>(static_cast<const uint32_t*>(a_.edges) + at)
                 : static_cast<const uint16_t*>(a_.edges) + at;
}

inline void TrieChildren::fetch_token(int64_t entry) const {
  __builtin_prefetch(edge(clip(a_.offsets[entry], 0, static_cast<int64_t>(a_.num_edges) - 1)));
}

inline int32_t TrieChildren::token_at(int64_t entry, int64_t depth) const {
  if (__builtin_expect(a_.shared[entry] > depth, 0)) entry = holder(entry, depth);
  const int64_t place = static_cast<int64_t>(a_.offsets[entry]) + depth - a_.shared[entry];
  const void* at = edge(clip(place, 0, static_cast<int64_t>(a_.num_edges) - 1));
  const int64_t token = a_.wide ? *static_cast<const uint32_t*>(at) : *static_cast<const uint16_t*>(at);
  return static_cast<int32_t>(std::min(token, a_.vocab_size - 1));
}

// Lookups go all over the arrays: what is asked for ahead has come when its turn comes.
inline void TrieChildren::fetch(int64_t entry, const EntryBits& eligible) const {
  entry = clip(entry, 0, a_.num_entries - 1);
  __builtin_prefetch(a_.shared + entry);
  __builtin_prefetch(a_.offsets + entry);
  if (eligible.words == nullptr) return;
  __builtin_prefetch(eligible.words + (entry >> 6));
  __builtin_prefetch(eligible.ranks + (entry >> 6));
}

ChildList TrieChildren::children(const NodeList& nodes, const EntryBits& eligible) const {
  ChildList out;
  out.ptr.reserve(nodes.size + 1);
  out.ptr.push_back(0);
  out.reserve(4 * nodes.size + 64);
  for (size_t i = 0; i < nodes.size; ++i) {
    if (i + kAhead < nodes.size) fetch(nodes.lo[i + kAhead], eligible);
    append(nodes.lo[i], nodes.hi[i], nodes.depth[i], eligible, out);
    out.ptr.push_back(static_cast<int64_t>(out.size));
  }
  out.finish();
  return out;
}

void TrieChildren::append(int64_t lo, int64_t hi, int64_t depth, const EntryBits& eligible,
                          ChildList& out) const {
  lo = clip(lo, 0, a_.num_entries);
  hi = clip(hi, 0, a_.num_entries);
  if (lo >= hi) return;
  if (eligible.words == nullptr)
    append_as<true>(lo, hi, depth, eligible, out);
  else
    append_as<false>(lo, hi, depth, eligible, out);
}

// The child of a node at `depth` that holds the entries [lo, hi), unless none of them is eligible. `before`: the
// eligible entries before lo, on return before hi.
template <bool kEvery>
inline void TrieChildren::child(int64_t lo, int64_t hi, int64_t depth, const EntryBits& eligible, int64_t& before,
                                ChildList& out) const {
  const int64_t first = lo;  // is likelier to hold the token than a later one
  if (!kEvery) {
    const int64_t after = eligible.rank(hi), count = after - before;
    before = after;
    if (count == 0) return;
    if (count == 1 && hi - lo > 1) {
      lo = eligible.first(lo, hi);
      hi = lo + 1;
    }
  }
  const int64_t own = static_cast<int64_t>(a_.offsets[lo + 1]) - a_.offsets[lo];
  const int64_t length = clip(own + a_.shared[lo], 1, a_.max_depth);
  // Both are looked at always: which of them holds is hard to foresee.
  const bool leaf = ((hi - lo == 1) & (length <= depth + 1)) | (depth + 1 >= a_.max_depth);
  out.add(token_at(first, depth), lo, hi, leaf);
}

template <bool kEvery>
void TrieChildren::append_as(int64_t lo, int64_t hi, int64_t depth, const EntryBits& eligible,
                             ChildList& out) const {
  int64_t before = kEvery ? 0 : eligible.rank(lo);
  if (hi - lo > kListedAbove) {
    const int64_t key = lo * 256 + depth;
    const size_t slot = std::lower_bound(a_.key, a_.key + a_.num_listed, key) - a_.key;
    if (slot < a_.num_listed && a_.key[slot] == key && a_.key_hi[slot] == hi) {
      const size_t end = std::min<size_t>(a_.ptr[slot + 1], a_.num_first);
      if (a_.ptr[slot] < end) out.reserve(end - a_.ptr[slot]);
      for (size_t at = a_.ptr[slot]; at < end; ++at) {
        if (at + 2 * kAhead < end) fetch(a_.first[at + 2 * kAhead], eligible);
        if (at + kAhead < end) fetch_token(clip(a_.first[at + kAhead], 0, a_.num_entries - 1));
        const int64_t start = clip(a_.first[at], lo, hi - 1);
        const int64_t stop = at + 1 < end ? clip(a_.first[at + 1], start + 1, hi) : hi;
        child<kEvery>(start, stop, depth, eligible, before, out);
      }
      return;
    }
  }
  out.reserve(hi - lo);
  int64_t start = lo;
  for (int64_t entry = next_equal(a_.shared, lo + 1, hi, depth); entry < hi;
       entry = next_equal(a_.shared, entry + 1, hi, depth)) {
    child<kEvery>(start, entry, depth, eligible, before, out);
    start = entry;
  }
  child<kEvery>(start, hi, depth, eligible, before, out);
}

// The last entry up to `entry` that shares at most `depth` tokens with the one before: it stores that token.
int64_t TrieChildren::holder(int64_t entry, int64_t depth) const {
  const int64_t stop = by_depth_.empty() ? 0 : std::max<int64_t>(entry - kBack, 0);
  int64_t at = entry;
  for (; at - kBlock >= stop; at -= kBlock) {  // blocks of a fixed length, which compilers make vectors of
    bool any = false;
    for (int64_t i = 0; i < kBlock; ++i) any |= a_.shared[at - i] <= depth;
    if (any) break;
  }
  for (; at >= stop; --at)
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

// Narrows the entries [lo, hi) of one side to those that the side's view wants; whether any counts.
bool narrow(const TrieChildren& side, const EntryBits& live, int64_t& lo, int64_t& hi) {
  if (hi <= lo) return false;
  if (live.words == nullptr) return true;
  lo = clip(lo, 0, side.num_entries() - 1);
  hi = clip(hi, lo + 1, side.num_entries());
  const int64_t count = live.rank(hi) - live.rank(lo);
  if (count == 1) {  // the other side may have widened the node
    lo = live.first(lo, hi);
    hi = lo + 1;
  }
  return count > 0;
}

// Numbers children of base, from `begin` on, as those of both tries. The node holds the gaps first to last - 1;
// entries added outside it stand before or after all of its entries.
void renumber(ChildList& list, size_t begin, const int64_t* gaps, int64_t first, int64_t last) {
  int64_t before_first = first, before_last = first;
  for (size_t i = begin; i < list.size; ++i) {
    while (before_first < last && gaps[before_first] <= list.lo[i]) ++before_first;
    while (before_last < last && gaps[before_last] <= list.hi[i] - 1) ++before_last;
    list.lo[i] += before_first;
    list.hi[i] += before_last;
  }
}

}  // namespace

ChildList MergedChildren::children(const NodeList& nodes) const {
  const int64_t num_added = added.num_entries(), num_all = base.num_entries() + num_added;
  ChildList out, of_added;
  std::vector<size_t> places;
  out.ptr.reserve(nodes.size + 1);
  out.ptr.push_back(0);
  out.reserve(4 * nodes.size + 64);
  for (size_t i = 0; i < nodes.size; ++i) {
    const int64_t depth = nodes.depth[i];
    // Gaps of a damaged file may lie behind the last entry.
    const int64_t node_lo = clip(nodes.lo[i], 0, num_all), node_hi = clip(nodes.hi[i], 0, num_all);
    const int64_t first = num_below(added_at, num_added, node_lo);
    const bool has_gaps = first < num_added && added_at[first] < node_hi;
    const int64_t last = has_gaps ? first + num_below(added_at + first, num_added - first, node_hi) : first;
    int64_t lo = node_lo - first, hi = node_hi - last, lo_added = first, hi_added = last;
    const bool in_base = narrow(base, base_live, lo, hi);
    const bool in_added = narrow(added, added_live, lo_added, hi_added);
    of_added.size = 0;
    const size_t begin = out.size;
    if (in_base) base.append(lo, hi, depth, base_live, out);
    renumber(out, begin, gaps, first, last);
    if (in_added) {
      added.append(lo_added, hi_added, depth, added_live, of_added);
      merge(of_added, depth, begin, out, places);
    }
    out.ptr.push_back(static_cast<int64_t>(out.size));
  }
  out.finish();
  return out;
}

// Puts the children of the added side among those of base that stand in `out` from `begin` on.
void MergedChildren::merge(const ChildList& of_added, int64_t depth, size_t begin, ChildList& out,
                           std::vector<size_t>& at) const {
  const bool ends = depth + 1 >= std::max(base.max_depth(), added.max_depth());  // only in damaged arrays
  at.clear();
  for (size_t a = 0; a < of_added.size; ++a) {
    const int64_t lo = added_at[of_added.lo[a]], hi = added_at[of_added.hi[a] - 1] + 1;
    const auto end = out.tokens.begin() + out.size;
    const auto found = std::lower_bound(out.tokens.begin() + begin, end, of_added.tokens[a]);
    const size_t place = found - out.tokens.begin();
    if (found != end && *found == of_added.tokens[a]) {
      out.lo[place] = std::min(out.lo[place], lo);
      out.hi[place] = std::max(out.hi[place], hi);
      out.is_leaf[place] = ends;
    } else {
      at.push_back(a);
      at.push_back(place);
    }
  }
  if (at.empty()) return;
  out.reserve(at.size() / 2);
  size_t from = out.size, to = out.size += at.size() / 2;
  for (; !at.empty(); at.resize(at.size() - 2)) {  // from the end, so that each moves once
    const size_t a = at[at.size() - 2], place = std::min(at.back(), from);
    out.move(place, from, to);
    to -= from - place + 1;
    from = place;
    out.set(to, of_added.tokens[a], added_at[of_added.lo[a]], added_at[of_added.hi[a] - 1] + 1, of_added.is_leaf[a]);
  }
}

}  // namespace adtrie
