#include "parallel.h"

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

}  // namespace

ThreadTeam::ThreadTeam(int num_threads) : num_threads_(num_threads < 1 ? 1 : num_threads) {
  for (int i = 1; i < num_threads_; ++i) threads_.emplace_back([this, i] { worker(i); });
}

ThreadTeam::~ThreadTeam() {
  stop_ = true;
  announce(generation_);
  for (std::thread& t : threads_) t.join();
}

void ThreadTeam::wait_change(const std::atomic<uint32_t>& counter, uint32_t seen) {
  for (int i = 0; i < kSpins; ++i) {
    if (counter.load(std::memory_order_acquire) != seen) return;
    pause_cpu();
  }
  for (int i = 0; i < kYields; ++i) {
    if (counter.load(std::memory_order_acquire) != seen) return;
    std::this_thread::yield();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  sleepers_.fetch_add(1);
  wake_.wait(lock, [&] { return counter.load() != seen; });
  sleepers_.fetch_sub(1);
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

void ThreadTeam::barrier() {
  if (num_threads_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1) + 1 == static_cast<uint32_t>(num_threads_)) {
    arrived_.store(0, std::memory_order_relaxed);
    announce(phase_);
  } else {
    wait_change(phase_, phase);
  }
}

void ThreadTeam::run(const std::function<void(int)>& task) {
  task_ = &task;
  if (num_threads_ > 1) announce(generation_);
  task(0);
  barrier();
}

void ThreadTeam::worker(int index) {
  uint32_t seen = 0;
  for (;;) {
    wait_change(generation_, seen);
    ++seen;
    if (stop_) return;
    (*task_)(index);
    barrier();
  }
}

}  // namespace adtrie
