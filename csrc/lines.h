// A vector that begins at a cache line, so that the lines of a vector register are whole lines of it.
#pragma once
#include <cstddef>
#include <new>
#include <vector>

namespace adtrie {

constexpr std::align_val_t kLine{64};

template <typename T>
struct LineAllocator {
  using value_type = T;
  LineAllocator() = default;
  template <typename U>
  LineAllocator(const LineAllocator<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kLine)); }
  void deallocate(T* at, size_t) { ::operator delete(at, kLine); }
  template <typename U>
  bool operator==(const LineAllocator<U>&) const { return true; }
  template <typename U>
  bool operator!=(const LineAllocator<U>&) const { return false; }
};

template <typename T>
using Lines = std::vector<T, LineAllocator<T>>;

}  // namespace adtrie
