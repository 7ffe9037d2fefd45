// The bits of adtrie._trie. What goes over all words or rows lets other threads run meanwhile.
#include "bitmap.h"
#include "trie_bindings.h"

namespace adtrie {

namespace {

template <typename Array>
void check_words(const Array& words, int64_t size) {
  check(size >= 0 && words.size() == static_cast<size_t>((size + 63) / 64), "words do not fit the size");
}

void mark_entries(Words words, Column<uint32_t> entries, int64_t size) {
  check_words(words, size);
  nb::gil_scoped_release release;
  mark(words.data(), entries.data(), entries.size(), size);
}

void mark_entry_ranges(Words words, Column<uint32_t> entries, Column<int64_t> first, Column<int64_t> last,
                       int64_t size) {
  check_words(words, size);
  check(first.size() == last.size(), "first and last of different lengths");
  const int64_t end = static_cast<int64_t>(entries.size());
  for (size_t i = 0; i < first.size(); ++i)
    check(first.data()[i] >= 0 && last.data()[i] <= end, "ranges do not fit the entries");
  nb::gil_scoped_release release;
  mark_ranges(words.data(), entries.data(), first.data(), last.data(), first.size(), size);
}

void mark_rows_between(Words words, Column<uint8_t> numbers, Column<uint8_t> first, Column<uint8_t> last) {
  check_words(words, static_cast<int64_t>(numbers.size()));
  check(first.size() == last.size(), "first and last of different lengths");
  for (size_t i = 0; i < first.size(); ++i) check(first.data()[i] <= last.data()[i], "first above last");
  nb::gil_scoped_release release;
  mark_between(words.data(), numbers.data(), numbers.size(), first.data(), last.data(), first.size());
}

nb::ndarray<nb::numpy, uint32_t> ranks(Column<uint64_t> words) {
  return owned<uint32_t>(ranks_of(words.data(), words.size()));
}

nb::ndarray<nb::numpy, uint64_t> words_without(Column<uint64_t> words, int64_t size, Column<uint32_t> places) {
  check_words(words, size);
  for (size_t i = 1; i < places.size(); ++i) check(places.data()[i - 1] < places.data()[i], "places ascend");
  return owned<uint64_t>(without(words.data(), size, places.data(), places.size()));
}

}  // namespace

void bind_bitmap(nb::module_& m) {
  m.def("mark", &mark_entries, nb::arg("words").noconvert(), nb::arg("entries"), nb::arg("size"),
        "Sets the bits of entries below size.");
  m.def("mark_ranges", &mark_entry_ranges, nb::arg("words").noconvert(), nb::arg("entries"), nb::arg("first"),
        nb::arg("last"), nb::arg("size"), "Sets the bits of entries[first[i]:last[i]] of each range.");
  m.def("mark_between", &mark_rows_between, nb::arg("words").noconvert(), nb::arg("numbers"), nb::arg("first"),
        nb::arg("last"), "Sets the bits of the rows whose number is in one of the ranges [first, last].");
  m.def("ranks", &ranks, nb::arg("words"), "uint32[W + 1]: bits before each word.");
  m.def("without", &words_without, nb::arg("words"), nb::arg("size"), nb::arg("places"),
        "The bits that are left without those at places.");
}

}  // namespace adtrie
