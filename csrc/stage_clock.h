// Where the time of a forward goes: seconds each thread works in a stage and waits at its end. Off, it costs a test.
#pragma once
#include <array>
#include <chrono>
#include <vector>

namespace adtrie {

enum class Stage : int { kEmbed, kQkv, kAttend, kO, kGateUp, kDown, kFinal, kHead };
constexpr int kNumStages = 8;
constexpr std::array<const char*, kNumStages> kStageNames = {"embed", "qkv", "attend", "o", "gate_up", "down",
                                                             "final", "head"};

class StageClock {
 public:
  explicit StageClock(int num_threads) : rows_(num_threads) {}

  // Switches on or off, and forgets what was counted.
  void reset(bool on) {
    on_ = on;
    for (Row& row : rows_) row.work.fill(0.0), row.wait.fill(0.0);
  }
  void start(int thread) {
    if (on_) rows_[thread].last = now();
  }
  void worked(int thread, Stage stage) { add(thread, stage, &Row::work); }
  void waited(int thread, Stage stage) { add(thread, stage, &Row::wait); }

  double work(int thread, int stage) const { return rows_[thread].work[stage]; }
  double wait(int thread, int stage) const { return rows_[thread].wait[stage]; }
  int num_threads() const { return static_cast<int>(rows_.size()); }

 private:
  struct alignas(64) Row {
    std::array<double, kNumStages> work{}, wait{};
    double last = 0.0;
  };

  static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  void add(int thread, Stage stage, std::array<double, kNumStages> Row::*into) {
    if (!on_) return;
    Row& row = rows_[thread];
    const double at = now();
    (row.*into)[static_cast<int>(stage)] += at - row.last;
    row.last = at;
  }

  bool on_ = false;
  std::vector<Row> rows_;
};

}  // namespace adtrie
