#include "beam.h"

#include <algorithm>
#include <limits>

namespace adtrie {
namespace {

struct Candidate {
  double score;
  int64_t lo;
  size_t child;   // num_children: a finished entry
  size_t parent;  // among the live hypotheses
};

bool before(const Candidate& a, const Candidate& b) { return a.score != b.score ? a.score > b.score : a.lo < b.lo; }

}  // namespace

double keep_best(const BeamStep& step, LiveBeam& live, DoneBeam& done) {
  std::vector<Candidate> all;
  all.reserve(step.num_done + step.num_children);
  for (size_t i = 0; i < step.num_done; ++i) all.push_back({step.done_score[i], step.done_lo[i], step.num_children, 0});
  for (size_t i = 0; i < step.num_live; ++i)
    for (size_t c = static_cast<size_t>(step.ptr[i]); c < static_cast<size_t>(step.ptr[i + 1]); ++c)
      all.push_back({step.score[i] + step.scores[c], step.lo[c], c, i});
  const size_t kept = std::min(step.width, all.size()), sorted = std::min(kept + 1, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(sorted), all.end(), before);
  for (size_t i = 0; i < kept; ++i) {
    const auto& [score, lo, child, parent] = all[i];
    if (child == step.num_children || step.is_leaf[child]) {
      done.lo.push_back(lo), done.score.push_back(score);
      continue;
    }
    live.lo.push_back(lo), live.hi.push_back(step.hi[child]), live.depth.push_back(step.depth[parent] + 1);
    live.token.push_back(step.tokens[child]), live.row.push_back(step.first_row + static_cast<int32_t>(parent));
    live.score.push_back(score);
  }
  return sorted > kept ? all[kept].score : -std::numeric_limits<double>::infinity();
}

}  // namespace adtrie
