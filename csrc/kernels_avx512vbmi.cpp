// The AVX-512 table with survivors gathered by byte permutations of whole registers. Compiled with those flags for
// this file only; called only where the CPU has them.
#include "kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VNNI__) && defined(__AVX512VBMI__)
#include "int8_many_avx512.h"

namespace adtrie {

const KernelTable* avx512vbmi_kernels() {
  static const KernelTable table = [] {
    KernelTable made = *avx512_kernels();
    made.name = "avx512vbmi";
    made.gemm_q_i8 = gemm_q_i8;
    return made;
  }();
  return &table;
}

}  // namespace adtrie
#else
namespace adtrie {
const KernelTable* avx512vbmi_kernels() { return nullptr; }
}  // namespace adtrie
#endif
