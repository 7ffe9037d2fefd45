// When a forward ends before it is complete: one thread looks at the clock before all meet, and all act on what it
// saw after they have met. Knows no stage and no thread.
#pragma once
#include <atomic>
#include <chrono>
#include <climits>

namespace adtrie {

class Stop {
 public:
  // `ms` from now, or at look number `looks` (from 0), whichever is first; looks < 0: by the clock alone.
  Stop(double ms, int looks)
      : end_(Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::milli>(ms))),
        looks_left_(looks) {}

  // By one thread before the meeting of that number; numbers rise within a pass.
  void look(int meeting) {
    if (stopped()) return;
    if (looks_left_-- == 0 || Clock::now() >= end_) stopped_at_.store(meeting, std::memory_order_relaxed);
  }
  // By any thread after that meeting: all get the same answer. What was seen for a later meeting does not count yet:
  // the looking thread may be that far ahead, and the others would leave it waiting.
  bool by(int meeting) const { return stopped_at_.load(std::memory_order_relaxed) <= meeting; }
  bool stopped() const { return by(kNever - 1); }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr int kNever = INT_MAX;

  const Clock::time_point end_;
  int looks_left_;
  std::atomic<int> stopped_at_{kNever};
};

}  // namespace adtrie
