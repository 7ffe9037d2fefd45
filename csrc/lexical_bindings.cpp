// The lexical index of adtrie._trie.
#include "lexical.h"
#include "trie_bindings.h"

namespace adtrie {

namespace {

nb::ndarray<nb::numpy, float> cosines_of(Column<uint32_t> letters, Column<double> of_count, Column<uint64_t> grams,
                                         Column<double> rarity, Column<int64_t> ptr, Column<int32_t> docs,
                                         Column<float> weights, int64_t num_texts) {
  check(of_count.size() >= letters.size(), "of_count for fewer than the letters");
  check(rarity.size() == grams.size() && ptr.size() == grams.size() + 1, "rarity and ptr do not fit the grams");
  check(docs.size() == weights.size() && num_texts >= 0, "weights do not fit the docs");
  const GramIndex index{grams.data(), rarity.data(),  ptr.data(),  grams.size(),
                        docs.data(),  weights.data(), docs.size(), static_cast<size_t>(num_texts)};
  return owned<float>(cosines(index, letters.data(), letters.size(), of_count.data()));
}

}  // namespace

void bind_lexical(nb::module_& m) {
  m.def("cosines", &cosines_of, nb::arg("letters"), nb::arg("of_count"), nb::arg("grams"), nb::arg("rarity"),
        nb::arg("ptr"), nb::arg("docs"), nb::arg("weights"), nb::arg("num_texts"),
        "float32[num_texts] of a query whose words stand between two spaces each.");
}

}  // namespace adtrie
