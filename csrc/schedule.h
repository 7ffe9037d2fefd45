// How a forward of some number of rows is carried out, decided beforehand (engine/plan.py) or by default: looked up
// once per pass, then followed without choices. Any schedule gives the same result, bit for bit.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels.h"

namespace adtrie {

struct RowPlan {
  int32_t rows = 1;             // for passes of up to so many rows
  bool one_thread = false;      // the others stay asleep
  bool norm_alone = true;       // every thread prepares the inputs of q, k, v for itself: the work n times, no barrier
  bool mlp_norm_alone = true;   // the same for those of gate and up
  bool whole_heads = true;      // threads multiply whole heads and place what they multiplied: one barrier less
  int32_t gate_panels = 0;      // panels of gate and up before their product is formed; 0: all of a thread's
  GemmPlan qkv, o, gate_up, down, head;
};

class Schedule {
 public:
  Schedule();
  // Plans by ascending rows; the last serves all larger passes too. Never empty.
  void replace(std::vector<RowPlan> plans) { plans_ = std::move(plans); }
  const RowPlan& of(int rows) const {
    for (const RowPlan& plan : plans_)
      if (rows <= plan.rows) return plan;
    return plans_.back();
  }
  const std::vector<RowPlan>& plans() const { return plans_; }

 private:
  std::vector<RowPlan> plans_;
};

}  // namespace adtrie
