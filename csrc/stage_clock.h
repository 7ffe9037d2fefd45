// Where the time of a forward goes: processor seconds each thread works in a stage, seconds it waits at its end.
// Processor seconds, so that a busy machine does not look like a slow stage. Off, it costs a test.
#pragma once
#include <time.h>

#include <array>
#include <vector>

namespace adtrie {

enum class Stage : int { kEmbed, kNorm, kQkv, kPlace, kAttend, kO, kMlpNorm, kGateUp, kDown, kFinal, kHead };
constexpr int kNumStages = 11;
constexpr std::array<const char*, kNumStages> kStageNames = {
    "embed", "norm", "qkv", "place", "attend", "o", "mlp_norm", "gate_up", "down", "final", "head"};

class StageClock {
 public:
  explicit StageClock(int num_threads) : rows_(num_threads) {}

  // Switches on or off, and forgets what was counted.
  void reset(bool on) {
    on_ = on;
    for (Row& row : rows_) row.work.fill(0.0), row.wait.fill(0.0);
  }
  void start(int thread) {
    if (on_) rows_[thread].since = now(CLOCK_THREAD_CPUTIME_ID);
  }
  // The stage ends here for this thread, which goes on without waiting.
  void passed(int thread, Stage stage) {
    if (!on_) return;
    Row& row = rows_[thread];
    const double at = now(CLOCK_THREAD_CPUTIME_ID);
    row.work[static_cast<int>(stage)] += at - row.since;
    row.since = at;
  }
  void worked(int thread, Stage stage) {
    if (!on_) return;
    Row& row = rows_[thread];
    row.work[static_cast<int>(stage)] += now(CLOCK_THREAD_CPUTIME_ID) - row.since;
    row.since = now(CLOCK_MONOTONIC);
  }
  void waited(int thread, Stage stage) {
    if (!on_) return;
    Row& row = rows_[thread];
    row.wait[static_cast<int>(stage)] += now(CLOCK_MONOTONIC) - row.since;
    row.since = now(CLOCK_THREAD_CPUTIME_ID);
  }

  double work(int thread, int stage) const { return rows_[thread].work[stage]; }
  double wait(int thread, int stage) const { return rows_[thread].wait[stage]; }
  int num_threads() const { return static_cast<int>(rows_.size()); }

 private:
  struct alignas(64) Row {
    std::array<double, kNumStages> work{}, wait{};
    double since = 0.0;
  };

  static double now(clockid_t clock) {
    timespec at{};
    clock_gettime(clock, &at);
    return static_cast<double>(at.tv_sec) + 1e-9 * static_cast<double>(at.tv_nsec);
  }

  bool on_ = false;
  std::vector<Row> rows_;
};

}  // namespace adtrie
