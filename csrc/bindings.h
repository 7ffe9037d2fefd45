// What the binding files share: arrays of NumPy, checks, and the kernel table by name.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "packing.h"

namespace nb = nanobind;

namespace adtrie {

template <typename T, int Dims>
using Array = nb::ndarray<const T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;

template <typename T>
nb::ndarray<nb::numpy, T> owned(std::vector<T>&& values, std::vector<size_t> shape) {
  auto* held = new std::vector<T>(std::move(values));
  nb::capsule owner(held, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::ndarray<nb::numpy, T>(held->data(), shape.size(), shape.data(), owner);
}

inline void check(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(message);
}

inline const KernelTable& kernels_named(const std::string& name) {
  const KernelTable* table = select_kernels(name.c_str());
  if (table == nullptr)
    throw std::invalid_argument("instruction set '" + name + "' is unknown or not available on this machine");
  return *table;
}

inline Activations activations_named(const std::string& name) {
  if (name == "int8") return Activations::kI8;
  if (name == "bfloat16") return Activations::kBF16;
  check(name == "float32", "activations: expected int8, bfloat16 or float32");
  return Activations::kF32;
}

// Keeps a Python array alive; its last reference may go without the interpreter's lock.
template <typename A>
std::shared_ptr<const void> held(const A& array) {
  return std::make_shared<A>(array);
}

// A linear from arrays that are checked first: std::invalid_argument where they disagree.
Panels packed(Arena& arena, Array<uint8_t, 2> codes, Array<uint16_t, 2> scales,
              std::optional<Array<uint16_t, 2>> mins, int bits, int group);
PackedStream checked_stream(Array<uint8_t, 1> stream, Array<uint16_t, 3> scales, Array<uint8_t, 1> kept, int bits,
                            int group, int num_outputs, int num_inputs);
GemmPlan checked_gemm(bool widen, int panels, int ahead, bool near);
// Adds Stop, Session and Lane.
void bind_sessions(nb::module_& m);
// Adds Linear, quantize_rows and read_bandwidth.
void bind_linear(nb::module_& m);

}  // namespace adtrie
