// A fixed team of threads that runs one function to its end, meeting at barriers. Work is split statically, so
// a result never depends on the number of threads. Waiting threads spin briefly, then yield, then sleep.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace adtrie {

struct Range {
  int begin, end;
};

// Part `index` of `count` nearly equal contiguous parts of [0, n).
inline Range split(int n, int index, int count) {
  const int64_t total = n;
  return {static_cast<int>(total * index / count), static_cast<int>(total * (index + 1) / count)};
}

class ThreadTeam {
 public:
  explicit ThreadTeam(int num_threads);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return num_threads_; }
  // Runs task(thread index) on every thread of the team, the caller being thread 0; returns when all have ended.
  void run(const std::function<void(int)>& task);
  // Called by every thread inside a task: nobody passes before all have arrived.
  void barrier();

 private:
  void worker(int index);
  // Waits until `counter` differs from `seen`.
  void wait_change(const std::atomic<uint32_t>& counter, uint32_t seen);
  void announce(std::atomic<uint32_t>& counter);

  const int num_threads_;
  std::vector<std::thread> threads_;
  const std::function<void(int)>* task_ = nullptr;
  alignas(64) std::atomic<uint32_t> generation_{0};  // a new task
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> phase_{0};  // barrier passed
  std::atomic<bool> stop_{false};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace adtrie
