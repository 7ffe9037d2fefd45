// Where the paths of a pass lie apart: groups of rows, and the blocks of keys that their rows do not share.
#pragma once
#include <vector>

#include "kernels.h"

namespace adtrie {

struct Paths {
  std::vector<RowGroup> groups;
  std::vector<TailBlock> blocks;
  std::vector<TailPass> passes;
  int longest_tail = 0;  // tail_stride of any group

  // Of rows whose runs are runs[run_ptr[r]] to runs[run_ptr[r + 1]].
  void collect(const std::vector<Run>& runs, const std::vector<int>& run_ptr);

 private:
  // Neighbouring keys of one row in one block.
  struct Piece {
    int32_t block, row, lane, length, at, pass;
  };
  void collect_group(const std::vector<Run>& runs, const std::vector<int>& run_ptr, RowGroup& group);
  void add(const RowGroup& group, int row, Run run, int at);

  std::vector<Piece> pieces_;  // of one group
  std::vector<int32_t> used_;  // [block, kGroupRows]: keys of a row in a block of the group
};

}  // namespace adtrie
