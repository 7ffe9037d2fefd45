// Chooses the kernel table once: the best this CPU runs, or the one asked for by name.
#include <algorithm>
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

std::vector<const KernelTable*> available_kernels() {
  std::vector<const KernelTable*> best_first;
  if (has_avx512bf16()) best_first.push_back(avx512bf16_kernels());
  if (has_avx512vbmi()) best_first.push_back(avx512vbmi_kernels());
  if (has_avx512()) best_first.push_back(avx512_kernels());
  if (has_avx2()) best_first.push_back(avx2_kernels());
  best_first.push_back(&scalar_kernels());
  best_first.erase(std::remove(best_first.begin(), best_first.end(), nullptr), best_first.end());
  return best_first;
}

const KernelTable* select_kernels(const char* name) {
  const bool any = name == nullptr || *name == '\0';
  for (const KernelTable* table : available_kernels())
    if (any || std::strcmp(table->name, name) == 0) return table;
  return nullptr;
}

}  // namespace adtrie
