// One step of a beam over a trie: the fast twin of search/beam.py, which defines it. Knows no Python, no trie, no model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace adtrie {

// Hypotheses that go on, in falling order: nodes (lo, hi, depth), their last token, the row of their parent, their score.
struct LiveBeam {
  std::vector<int64_t> lo, hi, depth;
  std::vector<int32_t> token, row;
  std::vector<double> score;
};

// Entries that are finished, in falling order.
struct DoneBeam {
  std::vector<int64_t> lo;
  std::vector<double> score;
};

// What a step is given. Children are those of n live hypotheses, [ptr[i], ptr[i + 1]) of hypothesis i, which was fed as
// row first_row + i; `scores` are their own tokens'.
struct BeamStep {
  size_t width, num_live, num_done, num_children;
  const int64_t* depth;
  const double* score;
  const int64_t* done_lo;
  const double* done_score;
  const int64_t* ptr;
  const int32_t* tokens;
  const int64_t *lo, *hi;
  const bool* is_leaf;
  const double* scores;
  int32_t first_row;
};

// The best `width` of children and finished entries, by score and then by entry; returns the best score of the others,
// minus infinity where there are none.
double keep_best(const BeamStep& step, LiveBeam& live, DoneBeam& done);

}  // namespace adtrie
