#include "lexical.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace adtrie {

namespace {

constexpr size_t kShortest = 3, kLongest = 5;
constexpr uint64_t kFactor = 0x9E3779B97F4A7C15;

// The hashes of all grams within words, ascending.
std::vector<uint64_t> grams_of(const uint32_t* letters, size_t num_letters) {
  std::vector<uint64_t> grams;
  grams.reserve(num_letters * (kLongest - kShortest + 1));
  for (size_t begin = 0; begin < num_letters;) {
    size_t end = begin + 1;
    while (end < num_letters && letters[end] != ' ') ++end;
    end = std::min(end + 1, num_letters);
    for (size_t first = begin; first < end; ++first) {
      uint64_t value = 0;
      for (size_t size = 1; size <= kLongest && first + size <= end; ++size) {
        value = value * kFactor + letters[first + size - 1] + 1;
        if (size >= kShortest) grams.push_back(value);
      }
    }
    begin = end;
  }
  std::sort(grams.begin(), grams.end());
  return grams;
}

// Where `gram` would stand among ascending ones. Hashes are spread evenly: the search begins where it would stand then,
// because every probe of a large index waits for memory.
const uint64_t* place_of(const uint64_t* grams, size_t num_grams, uint64_t gram) {
  const size_t guess = static_cast<size_t>(static_cast<double>(gram) * 0x1p-64 * static_cast<double>(num_grams));
  size_t begin = std::min(guess, num_grams), end = begin, step = 16;
  while (begin > 0 && grams[begin - 1] >= gram) begin -= std::min(begin, step), step *= 2;
  step = 16;
  while (end < num_grams && grams[end] < gram) end += std::min(num_grams - end, step), step *= 2;
  return std::lower_bound(grams + begin, grams + end, gram);
}

struct Weighed {
  size_t gram;
  double weight;
};

}  // namespace

std::vector<float> cosines(const GramIndex& index, const uint32_t* letters, size_t num_letters, const double* of_count) {
  const std::vector<uint64_t> grams = grams_of(letters, num_letters);
  std::vector<Weighed> found;
  double squares = 0.0;
  for (size_t i = 0, count; i < grams.size(); i += count) {
    for (count = 1; i + count < grams.size() && grams[i + count] == grams[i];) ++count;
    const uint64_t* place = place_of(index.grams, index.num_grams, grams[i]);
    if (place == index.grams + index.num_grams || *place != grams[i]) continue;
    const size_t gram = static_cast<size_t>(place - index.grams);
    found.push_back({gram, of_count[std::min(count, num_letters) - 1] * index.rarity[gram]});
    squares += found.back().weight * found.back().weight;
  }
  const double length = squares > 0.0 ? std::sqrt(squares) : 1.0;
  std::vector<double> sums(index.num_texts);
  for (const Weighed& each : found) {
    const int64_t begin = index.ptr[each.gram], end = index.ptr[each.gram + 1];
    if (begin < 0 || end > static_cast<int64_t>(index.num_postings)) throw std::invalid_argument("ptr beyond the postings");
    const double weight = each.weight / length;
    for (int64_t at = begin; at < end; ++at) {
      const size_t text = static_cast<size_t>(index.docs[at]);
      if (text >= index.num_texts) throw std::invalid_argument("docs beyond the texts");
      sums[text] += weight * static_cast<double>(index.weights[at]);
    }
  }
  return std::vector<float>(sums.begin(), sums.end());
}

}  // namespace adtrie
