// The step of a beam for NumPy arrays, which are checked here.
#include "beam.h"
#include "trie_bindings.h"

namespace adtrie {

void bind_beam(nb::module_& m) {
  m.def("keep_best",
        [](int64_t width, Column<int64_t> depth, Column<double> score, Column<int64_t> done_lo, Column<double> done_score,
           Column<int64_t> ptr, Column<int32_t> tokens, Column<int64_t> lo, Column<int64_t> hi, Column<bool> is_leaf,
           Column<double> scores, int32_t first_row) {
          const size_t n = score.size(), children = tokens.size();
          check(width > 0 && first_row >= 0, "width or first_row out of range");
          check(depth.size() == n && ptr.size() == n + 1, "live hypotheses of different lengths");
          check(done_lo.size() == done_score.size(), "finished entries of different lengths");
          check(lo.size() == children && hi.size() == children && is_leaf.size() == children &&
                    scores.size() == children,
                "children of different lengths");
          check(ptr.data()[0] == 0 && static_cast<size_t>(ptr.data()[n]) == children, "ptr does not fit the children");
          for (size_t i = 0; i < n; ++i) check(ptr.data()[i] <= ptr.data()[i + 1], "ptr falls");
          const BeamStep step = {static_cast<size_t>(width), n, done_lo.size(), children, depth.data(), score.data(),
                                 done_lo.data(), done_score.data(), ptr.data(), tokens.data(), lo.data(), hi.data(),
                                 is_leaf.data(), scores.data(), first_row};
          LiveBeam live;
          DoneBeam done;
          const double dropped = keep_best(step, live, done);
          return nb::make_tuple(owned<int64_t>(std::move(live.lo)), owned<int64_t>(std::move(live.hi)),
                                owned<int64_t>(std::move(live.depth)), owned<int32_t>(std::move(live.token)),
                                owned<int32_t>(std::move(live.row)), owned<double>(std::move(live.score)),
                                owned<int64_t>(std::move(done.lo)), owned<double>(std::move(done.score)), dropped);
        },
        nb::arg("width"), nb::arg("depth"), nb::arg("score"), nb::arg("done_lo"), nb::arg("done_score"), nb::arg("ptr"),
        nb::arg("tokens"), nb::arg("lo"), nb::arg("hi"), nb::arg("is_leaf"), nb::arg("scores"), nb::arg("first_row"),
        "(lo, hi, depth, token, row, score) of the live hypotheses kept, (lo, score) of the finished ones, and the "
        "best score dropped.");
}

}  // namespace adtrie
