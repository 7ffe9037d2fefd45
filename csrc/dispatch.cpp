// Chooses the kernel table once: the best this CPU runs, or the one asked for by name.
#include <cstring>

#include "kernels.h"

namespace adtrie {
namespace {

bool has_avx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
#else
  return false;
#endif
}

bool has_avx512() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
#else
  return false;
#endif
}

}  // namespace

const KernelTable* select_kernels(const char* name) {
  const KernelTable* avx512 = has_avx512() ? avx512_kernels() : nullptr;
  const KernelTable* avx2 = has_avx2() ? avx2_kernels() : nullptr;
  if (name == nullptr || *name == '\0') return avx512 ? avx512 : avx2 ? avx2 : &scalar_kernels();
  if (std::strcmp(name, "avx512") == 0) return avx512;
  if (std::strcmp(name, "avx2") == 0) return avx2;
  if (std::strcmp(name, "scalar") == 0) return &scalar_kernels();
  return nullptr;
}

}  // namespace adtrie
