// Upper bounds of raw scores for a part of the head's work: each row is normalised over the frequent tokens of the
// model and its own listed children. Leaving tokens out can only raise a log-probability, so a search may prune by it.
// A logit is that of the whole head to the bit; the normaliser is summed in pieces in order, whatever the threads are.
#include <algorithm>
#include <cmath>
#include <limits>

#include "head.h"

namespace adtrie {
namespace {

// Taken off the sum so that no rounding lifts the normaliser above the full one. Of positive floats the sum of a piece
// (2^10 of them) is within 2^-14 of the true one, relatively, the full head's sum of up to 2^10 pieces within 2^-14
// more, exponentials within 2^-18: less than 2^-12 together. The last step down is for the rounding of the result.
constexpr float kRounding = 1.0f - 1.0f / 4096.0f;

// Of every row and piece the maximum and the sum of exponentials over the frequent tokens.
struct PieceSums {
  int pieces;
  std::vector<float> maxima, sums;
};

void sum_pieces(Transformer& model, const HeadInputs& in, int num_rows, Range mine, PieceSums& parts, bool looks,
                Stop* stop) {
  const Panels& head = model.frequent;
  Lines<float> tile(static_cast<size_t>(std::min(kTileRows, num_rows)) * kPieceTokens);
  for (int piece = mine.begin; piece < mine.end; ++piece) {
    const int begin = piece * kPiecePanels, end = std::min(begin + kPiecePanels, head.num_panels);
    const int count = std::min(end * kPanel, head.num_outputs) - begin * kPanel;
    for (int first = 0; first < num_rows; first += kTileRows) {
      const int rows = std::min(kTileRows, num_rows - first);
      if (stop && looks) stop->look(kMeeting);
      if (stop && stop->stopped()) return;
      multiply(model.kernels(), panels_from(head, begin), 0, end - begin, in.inputs, model.shape().activations,
               first, rows, tile.data(), kPieceTokens, false, model.schedule.of(num_rows).head,
               piece + 1 < mine.end ? reading(head, end) : Reading{});
      for (int r = 0; r < rows; ++r) {
        const size_t cell = static_cast<size_t>(first + r) * parts.pieces + piece;
        model.kernels().log_sum_exp(tile.data() + static_cast<int64_t>(r) * kPieceTokens, count, &parts.maxima[cell],
                                    &parts.sums[cell]);
      }
    }
  }
}

float lower_normaliser(const Transformer& model, const PieceSums& parts, int r, const int32_t* children,
                       const float* logits, int64_t num_children) {
  const size_t cell = static_cast<size_t>(r) * parts.pieces;
  float top = *std::max_element(parts.maxima.begin() + cell, parts.maxima.begin() + cell + parts.pieces);
  for (int64_t c = 0; c < num_children; ++c) top = std::max(top, logits[c]);
  double total = 0.0;
  for (int piece = 0; piece < parts.pieces; ++piece)
    total += parts.sums[cell + piece] * std::exp(parts.maxima[cell + piece] - top);
  for (int64_t c = 0; c < num_children; ++c)
    if (!model.is_frequent[children[c]]) total += std::exp(logits[c] - top);
  const float normaliser = top + std::log(static_cast<float>(total) * kRounding);
  return std::nextafter(normaliser, -std::numeric_limits<float>::infinity());
}

}  // namespace

void bounding_scores(Transformer& model, const HeadInputs& in, int num_rows, const int64_t* ptr, const int32_t* tokens,
                     float* out, Stop* stop) {
  ThreadTeam& team = model.team();
  const std::vector<ChildItem> items = child_items(num_rows, ptr, tokens);
  PieceSums parts{(model.frequent.num_panels + kPiecePanels - 1) / kPiecePanels, {}, {}};
  parts.maxima.resize(static_cast<size_t>(num_rows) * parts.pieces), parts.sums.resize(parts.maxima.size());
  team.run([&](int thread) {
    model.clock().start(thread);
    sum_pieces(model, in, num_rows, split(parts.pieces, thread, team.active()), parts, thread == 0, stop);
    child_logits(model, in, items, split(static_cast<int>(items.size()), thread, team.active()), tokens, out);
    model.clock().worked(thread, Stage::kHead);
    team.barrier();
    model.clock().waited(thread, Stage::kHead);
    if (stop && stop->by(kMeeting)) return;
    const Range rows = split(num_rows, thread, team.active());
    for (int r = rows.begin; r < rows.end; ++r) {
      const float normaliser =
          lower_normaliser(model, parts, r, tokens + ptr[r], out + ptr[r], ptr[r + 1] - ptr[r]);
      for (int64_t c = ptr[r]; c < ptr[r + 1]; ++c) out[c] -= normaliser;
    }
  });
}

}  // namespace adtrie
