// The module adtrie._trie: children of trie nodes from NumPy arrays, steps of a beam, bits of entries, texts like a
// query. Apart from _core, so that a catalogue needs no engine. Arrays are checked here.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <vector>

#include "trie.h"
#include "trie_bindings.h"

namespace nb = nanobind;
using namespace adtrie;

namespace {

constexpr int64_t kLargeNode = 1 << 19;  // entries

nb::tuple as_tuple(ChildList&& found) {
  return nb::make_tuple(owned<int64_t>(std::move(found.ptr)), owned<int32_t>(std::move(found.tokens)),
                        owned<int64_t>(std::move(found.lo)), owned<int64_t>(std::move(found.hi)),
                        owned<bool>(std::move(found.is_leaf)));
}

NodeList node_list(const Column<int64_t>& lo, const Column<int64_t>& hi, const Column<int64_t>& depth) {
  check(lo.size() == hi.size() && lo.size() == depth.size(), "lo, hi and depth of different lengths");
  return {lo.data(), hi.data(), depth.data(), lo.size()};
}

EntryBits bits(const MaybeColumn<uint64_t>& words, const MaybeColumn<uint32_t>& ranks, int64_t num_entries) {
  if (!words) return {};
  const size_t num_words = static_cast<size_t>((num_entries + 63) / 64);
  check(ranks && words->size() == num_words && ranks->size() == num_words + 1,
        "words and ranks do not fit the entries");
  return {words->data(), ranks->data()};
}

// Children of a large node take long enough to let other threads go on; of small ones they do not, and waiting to
// be let in again would take longer than the work.
template <typename Find>
nb::tuple found_by(const NodeList& nodes, const Find& find) {
  int64_t size = 0;
  for (size_t i = 0; i < nodes.size; ++i) size = std::max(size, nodes.hi[i] - nodes.lo[i]);
  if (size < kLargeNode) return as_tuple(find());
  ChildList found;
  {
    nb::gil_scoped_release release;
    found = find();
  }
  return as_tuple(std::move(found));
}

// Keeps the arrays that its TrieChildren borrows.
struct TrieOwner {
  nb::object edges;
  Column<uint32_t> offsets;
  Column<uint8_t> shared;
  Column<int64_t> key;
  Column<uint32_t> hi, ptr, first;
  TrieChildren trie;
};

TrieOwner* make(nb::object edges, Column<uint32_t> offsets, Column<uint8_t> shared, Column<int64_t> key,
                Column<uint32_t> hi, Column<uint32_t> ptr, Column<uint32_t> first, int64_t max_depth,
                int64_t vocab_size) {
  Column<uint16_t> narrow;
  Column<uint32_t> wide;
  const bool is_wide = !nb::try_cast(edges, narrow, false);
  check(!is_wide || nb::try_cast(edges, wide, false), "edges must be uint16 or uint32");
  const size_t num_edges = is_wide ? wide.size() : narrow.size();
  check(num_edges > 0 && shared.size() > 0 && offsets.size() == shared.size() + 1, "arrays of an empty trie");
  check(hi.size() == key.size() && ptr.size() == key.size() + 1, "arrays of listed nodes do not fit");
  const TrieArrays arrays{is_wide ? static_cast<const void*>(wide.data()) : narrow.data(),
                          is_wide,
                          num_edges,
                          offsets.data(),
                          shared.data(),
                          static_cast<int64_t>(shared.size()),
                          key.data(),
                          hi.data(),
                          ptr.data(),
                          first.data(),
                          key.size(),
                          first.size(),
                          max_depth,
                          vocab_size};
  return new TrieOwner{edges, offsets, shared, key, hi, ptr, first, TrieChildren(arrays)};
}

}  // namespace

NB_MODULE(_trie, m) {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("popcnt")) throw nb::import_error("this processor cannot count bits");
#endif
  m.doc() = "Children of trie nodes, steps of a beam, bits of entries and texts like a query, the fast twins of NumPy code";
  bind_beam(m);
  bind_bitmap(m);
  bind_lexical(m);

  nb::class_<TrieOwner>(m, "Trie")
      .def(nb::new_(&make), nb::arg("edges"), nb::arg("offsets"), nb::arg("shared"), nb::arg("key"), nb::arg("hi"),
           nb::arg("ptr"), nb::arg("first"), nb::arg("max_depth"), nb::arg("vocab_size"))
      .def("children",
           [](const TrieOwner& self, Column<int64_t> lo, Column<int64_t> hi, Column<int64_t> depth,
              MaybeColumn<uint64_t> words, MaybeColumn<uint32_t> ranks) {
             const EntryBits eligible = bits(words, ranks, self.trie.num_entries());
             const NodeList nodes = node_list(lo, hi, depth);
             return found_by(nodes, [&] { return self.trie.children(nodes, eligible); });
           },
           nb::arg("lo"), nb::arg("hi"), nb::arg("depth"), nb::arg("words").none(), nb::arg("ranks").none(),
           "(ptr, tokens, lo, hi, is_leaf) of the children with an eligible entry; None: every entry.");

  m.def("merged_children",
        [](const TrieOwner& base, MaybeColumn<uint64_t> base_words, MaybeColumn<uint32_t> base_ranks,
           const TrieOwner& added, MaybeColumn<uint64_t> added_words, MaybeColumn<uint32_t> added_ranks,
           Column<int64_t> gaps, Column<int64_t> added_at, Column<int64_t> lo, Column<int64_t> hi,
           Column<int64_t> depth) {
          const size_t num_added = static_cast<size_t>(added.trie.num_entries());
          check(gaps.size() == num_added && added_at.size() == num_added, "gaps do not fit the added entries");
          const MergedChildren merged{base.trie,
                                      added.trie,
                                      bits(base_words, base_ranks, base.trie.num_entries()),
                                      bits(added_words, added_ranks, added.trie.num_entries()),
                                      gaps.data(),
                                      added_at.data()};
          const NodeList nodes = node_list(lo, hi, depth);
          return found_by(nodes, [&] { return merged.children(nodes); });
        },
        nb::arg("base"), nb::arg("base_words").none(), nb::arg("base_ranks").none(), nb::arg("added"),
        nb::arg("added_words").none(), nb::arg("added_ranks").none(), nb::arg("gaps"), nb::arg("added_at"),
        nb::arg("lo"), nb::arg("hi"), nb::arg("depth"), "As Trie.children, of two tries as one.");
}
