#include "parallel.h"

#include <algorithm>
#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace adtrie {
namespace {

inline void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

constexpr int kSpins = 4000;  // about 0.1 ms: longer than any stage between barriers of a warm forward
constexpr int kYields = 200;
constexpr double kCrowded = 0.4;            // share of a task's time that a thread waited for others
constexpr int64_t kJudgedNs = 1'000'000;    // shorter tasks tell little: waking a thread takes a tenth of it
constexpr int64_t kSliceNs = 2'000'000;     // a thread that is so late has lost its core to another
constexpr int kFewAlone = 4, kMostAlone = 16;

inline int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

ThreadTeam::ThreadTeam(int num_threads) : num_threads_(num_threads < 1 ? 1 : num_threads), active_(num_threads_) {
  for (int i = 1; i < num_threads_; ++i) threads_.emplace_back([this, i] { worker(i); });
}

ThreadTeam::~ThreadTeam() {
  stop_ = true;
  announce(generation_);
  for (std::thread& t : threads_) t.join();
}

bool ThreadTeam::wait_change(const std::atomic<uint32_t>& counter, uint32_t seen) {
  for (int i = 0; i < kSpins; ++i) {
    if (counter.load(std::memory_order_acquire) != seen) return false;
    pause_cpu();
  }
  for (int i = 0; i < kYields; ++i) {
    if (counter.load(std::memory_order_acquire) != seen) return true;
    std::this_thread::yield();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  sleepers_.fetch_add(1);
  wake_.wait(lock, [&] { return counter.load() != seen; });
  sleepers_.fetch_sub(1);
  return true;
}

// The counter changes before the sleepers are read and sleepers register before they read the counter, both
// sequentially consistent: either the sleeper sees the change or we see the sleeper.
void ThreadTeam::announce(std::atomic<uint32_t>& counter) {
  counter.fetch_add(1);
  if (sleepers_.load() > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
}

// Meets all; `last` runs once, when all have arrived and none goes on yet.
template <typename Last>
void ThreadTeam::meet(Last last) {
  const uint32_t phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1) + 1 == static_cast<uint32_t>(num_threads_)) {
    arrived_.store(0, std::memory_order_relaxed);
    last();
    announce(phase_);
    return;
  }
  const int64_t since = now_ns();
  if (wait_change(phase_, phase)) late_ns_.fetch_add(now_ns() - since, std::memory_order_relaxed);
}

void ThreadTeam::barrier() {
  if (active() > 1) meet([] {});
}

void ThreadTeam::regroup() {
  if (active() == 1) return;
  meet([this] {
    const bool lost = late_ns_.load(std::memory_order_relaxed) >= kSliceNs && late(now_ns() - since_ns_);
    if (regroupings_++ == leave_at_ || lost) active_ = 1;
  });
}

void ThreadTeam::run(const std::function<void(int)>& task) {
  if (alone_left_ > 0 || num_threads_ == 1) {
    alone_left_ -= alone_left_ > 0;
    active_ = 1;
    task(0);
    return;
  }
  while (inside_.load() > 0) std::this_thread::yield();
  inside_ = num_threads_ - 1;
  active_ = num_threads_;
  regroupings_ = 0;
  late_ns_.store(0, std::memory_order_relaxed);
  since_ns_ = now_ns();
  task_ = &task;
  announce(generation_);
  task(0);
  barrier();
  judge(now_ns() - since_ns_);
}

// Whether much of a task's time went by with waiting for others.
bool ThreadTeam::late(int64_t elapsed_ns) const {
  return elapsed_ns >= kJudgedNs && late_ns_.load(std::memory_order_relaxed) >= kCrowded * elapsed_ns;
}

// Two crowded tasks in a row, and the caller works alone; each time it is still crowded afterwards, for longer.
void ThreadTeam::judge(int64_t elapsed_ns) {
  if (elapsed_ns < kJudgedNs) return;
  if (active() > 1 && !late(elapsed_ns)) {
    crowded_ = 0, alone_next_ = kFewAlone;
  } else if (++crowded_ >= 2) {
    alone_left_ = std::max(alone_next_, kFewAlone);
    alone_next_ = std::min(2 * alone_left_, kMostAlone);
  }
}

void ThreadTeam::worker(int index) {
  uint32_t seen = 0;
  for (;;) {
    wait_change(generation_, seen);
    ++seen;
    if (stop_) return;
    (*task_)(index);
    barrier();
    inside_.fetch_sub(1);
  }
}

}  // namespace adtrie
