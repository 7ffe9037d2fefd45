// What the files that bind the module adtrie._trie share: checked arrays in, owned arrays out.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace nb = nanobind;

namespace adtrie {

template <typename T>
using Column = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <typename T>
using MaybeColumn = std::optional<Column<T>>;
using Words = nb::ndarray<uint64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;  // written

inline void check(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(message);
}

template <typename T, typename Stored>
nb::ndarray<nb::numpy, T> owned(std::vector<Stored>&& values) {
  auto* held = new std::vector<Stored>(std::move(values));
  nb::capsule owner(held, [](void* p) noexcept { delete static_cast<std::vector<Stored>*>(p); });
  return nb::ndarray<nb::numpy, T>(reinterpret_cast<T*>(held->data()), {held->size()}, owner);
}

void bind_beam(nb::module_& m);
void bind_bitmap(nb::module_& m);
void bind_lexical(nb::module_& m);

}  // namespace adtrie
