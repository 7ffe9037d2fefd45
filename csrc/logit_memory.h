// Memory of logits that goes round between forwards instead of being mapped anew. Included by bindings only.
#pragma once
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "bindings.h"

namespace adtrie {

// Logits of a forward are megabytes: fresh memory of that size is mapped, zeroed and faulted in page by page each time.
// So memory comes back here when its array is gone, whichever thread drops it.
class LogitMemory {
 public:
  static nb::ndarray<nb::numpy, float> lend(std::shared_ptr<LogitMemory> memory, size_t rows, size_t columns) {
    auto* lent = new Lent{std::move(memory), {}};
    nb::capsule owner(lent, [](void* p) noexcept { give_back(static_cast<Lent*>(p)); });
    lent->values = lent->from->take(rows * columns);
    const size_t shape[] = {rows, columns};
    return nb::ndarray<nb::numpy, float>(lent->values.data.get(), 2, shape, owner);
  }

 private:
  struct Values {
    std::unique_ptr<float[]> data;
    size_t size = 0;
  };
  struct Lent {
    std::shared_ptr<LogitMemory> from;
    Values values;
  };
  static constexpr size_t kSpares = 2;  // the array in use is dropped only after the next one was made

  Values take(size_t size) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = spares_.size(); i-- > 0;)
      if (spares_[i].size >= size) {
        Values found = std::move(spares_[i]);
        spares_.erase(spares_.begin() + i);
        return found;
      }
    spares_.clear();  // too small: larger ones will come back
    return {std::unique_ptr<float[]>(new float[size]), size};
  }
  static void give_back(Lent* lent) {
    LogitMemory& memory = *lent->from;
    {
      std::lock_guard<std::mutex> lock(memory.mutex_);
      if (memory.spares_.size() < kSpares) memory.spares_.push_back(std::move(lent->values));
    }
    delete lent;
  }

  std::mutex mutex_;
  std::vector<Values> spares_;
};

}  // namespace adtrie
