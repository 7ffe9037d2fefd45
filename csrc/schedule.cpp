#include "schedule.h"

namespace adtrie {

Schedule::Schedule() {
  constexpr int kRowCounts[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
  for (int rows : kRowCounts) {
    RowPlan plan;
    plan.rows = rows;
    plan.norm_alone = plan.mlp_norm_alone = rows <= 2;
    plan.gate_panels = rows <= 16 ? 0 : 12;
    for (GemmPlan* gemm : {&plan.qkv, &plan.o, &plan.gate_up, &plan.down, &plan.head}) gemm->widen = rows > 64;
    plans_.push_back(plan);
  }
}

}  // namespace adtrie
