#include "paths.h"

#include <algorithm>

#include "linear.h"

namespace adtrie {

void Paths::collect(const std::vector<Run>& runs, const std::vector<int>& run_ptr) {
  groups.clear(), blocks.clear(), passes.clear();
  const int num_rows = static_cast<int>(run_ptr.size()) - 1;
  for (int begin = 0, end; begin < num_rows; begin = end) {
    const Run first = runs[run_ptr[begin]];
    RowGroup group{};
    group.shared = first.length;
    for (end = begin; end < std::min(begin + kGroupRows, num_rows) && runs[run_ptr[end]].start == first.start; ++end)
      group.shared = std::min(group.shared, runs[run_ptr[end]].length);
    group.begin = begin, group.end = end;
    collect_group(runs, run_ptr, group);
    groups.push_back(group);
    longest_tail = std::max(longest_tail, group.tail_stride);
  }
}

void Paths::collect_group(const std::vector<Run>& runs, const std::vector<int>& run_ptr, RowGroup& group) {
  group.first_block = static_cast<int32_t>(blocks.size());
  pieces_.clear(), used_.clear();
  int longest = 0;
  for (int r = group.begin; r < group.end; ++r) {
    int at = 0;
    for (int i = run_ptr[r]; i < run_ptr[r + 1]; ++i) {
      const int skip = i == run_ptr[r] ? group.shared : 0;
      const Run run = {runs[i].start + skip, runs[i].length - skip};
      add(group, r - group.begin, run, at);
      at += run.length;
    }
    longest = std::max(longest, at);
  }
  group.tail_stride = padded(longest);
  group.num_blocks = static_cast<int32_t>(blocks.size()) - group.first_block;
  size_t num_passes = passes.size();
  for (int b = group.first_block; b < group.first_block + group.num_blocks; ++b) {
    blocks[b].first_pass = static_cast<int32_t>(num_passes);
    num_passes += blocks[b].num_passes;
  }
  TailPass none{};
  std::fill(none.at, none.at + kGroupRows, -1);
  passes.resize(num_passes, none);
  for (const Piece& piece : pieces_)
    for (int n = 0; n < piece.length; ++n) {
      TailPass& pass = passes[blocks[piece.block].first_pass + piece.pass + n];
      pass.lane[piece.row] = piece.lane + n, pass.at[piece.row] = piece.at + n;
    }
}

// The keys of a run block by block. Blocks are few, and the last ones are likeliest.
void Paths::add(const RowGroup& group, int row, Run run, int at) {
  for (int key = run.start, end = run.start + run.length; key < end;) {
    const int lane = key % kPanel, take = std::min(end - key, kPanel - lane);
    int block = static_cast<int>(blocks.size()) - 1;
    while (block >= group.first_block && blocks[block].number != key / kPanel) --block;
    if (block < group.first_block) {
      block = static_cast<int>(blocks.size());
      blocks.push_back({key / kPanel, row, row, 0, 0});
      used_.resize(used_.size() + kGroupRows, 0);
    }
    int32_t& used = used_[(block - group.first_block) * kGroupRows + row];
    pieces_.push_back({block, row, lane, take, at, used});
    used += take;
    blocks[block].num_passes = std::max(blocks[block].num_passes, used);
    blocks[block].last_row = row + 1;
    key += take, at += take;
  }
}

}  // namespace adtrie
