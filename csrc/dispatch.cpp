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

bool has_avx512vbmi() {
#if defined(__x86_64__)
  return has_avx512() && __builtin_cpu_supports("avx512vbmi");
#else
  return false;
#endif
}

bool has_avx512bf16() {
#if defined(__x86_64__)
  return has_avx512vbmi() && __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace

const KernelTable* select_kernels(const char* name) {
  const KernelTable* const best_first[] = {
      has_avx512bf16() ? avx512bf16_kernels() : nullptr,
      has_avx512vbmi() ? avx512vbmi_kernels() : nullptr,
      has_avx512() ? avx512_kernels() : nullptr,
      has_avx2() ? avx2_kernels() : nullptr,
      &scalar_kernels(),
  };
  const bool any = name == nullptr || *name == '\0';
  for (const KernelTable* table : best_first)
    if (table && (any || std::strcmp(table->name, name) == 0)) return table;
  return nullptr;
}

}  // namespace adtrie
