// A fixed team of threads that runs one function to its end, meeting at barriers. Work is split statically, so
// a result never depends on the number of threads. Waiting threads spin briefly, then yield, then sleep. Where others
// keep a core busy, whoever is to share it makes the rest wait: then the caller works alone, from the next regrouping
// on and for some tasks more.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
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
  // Threads of the task that runs now: all, or the caller alone.
  int active() const { return active_.load(std::memory_order_relaxed); }
  // Runs task(thread index) on every active thread, the caller being thread 0; returns when all have ended.
  void run(const std::function<void(int)>& task);
  // Called by every thread inside a task: nobody passes before all have arrived.
  void barrier();
  // The same, after which the task may be the caller's alone: others whose index is not below active() end it then.
  void regroup();
  // For tests: regrouping number `number` of each task (from 0) acts as if the others were late; -1: none does.
  void leave_at(int number) { leave_at_ = number; }

 private:
  template <typename Last>
  void meet(Last last);
  void worker(int index);
  // Waits until `counter` differs from `seen`; whether that took longer than spinning.
  bool wait_change(const std::atomic<uint32_t>& counter, uint32_t seen);
  bool late(int64_t elapsed_ns) const;
  void judge(int64_t elapsed_ns);
  void announce(std::atomic<uint32_t>& counter);

  const int num_threads_;
  std::atomic<int> active_;
  int crowded_ = 0, alone_left_ = 0, alone_next_ = 0;  // crowded tasks in a row; tasks to run alone, now and next time
  int leave_at_ = -1, regroupings_ = 0;
  int64_t since_ns_ = 0;                               // when the task began
  std::atomic<int> inside_{0};                         // others that have not ended the last task they took part in
  std::atomic<int64_t> late_ns_{0};                    // waited at barriers of a task, spinning not counted
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
