// The output head, asked for what a search needs: log-probabilities of the listed children of each row.
// Partial results are kept per fixed piece of the vocabulary and combined in order, so they do not depend on
// the number of threads; the full [R, V] logits are never held.
#include <algorithm>
#include <cmath>
#include <vector>

#include "head.h"

namespace adtrie {

void prepare_head(Transformer& model, const float* hidden, int num_rows, HeadInputs& in) {
  const Shape& shape = model.shape();
  in.inputs = {hidden, shape.hidden, &in.prepared};
  if (!wants_prepared(model.head, shape.activations)) return;
  in.prepared.resize(model.kernels(), shape.activations, num_rows, shape.hidden, model.head.sparse);
  for (int r = 0; r < num_rows; ++r)
    in.prepared.prepare(model.kernels(), shape.activations, r, hidden + static_cast<int64_t>(r) * shape.hidden,
                        shape.hidden, model.head.sparse);
}

void child_logits(Transformer& model, const HeadInputs& in, const std::vector<ChildItem>& items, Range mine,
                  const int32_t* tokens, float* out) {
  for (int i = mine.begin; i < mine.end; ++i) {
    const ChildItem& item = items[i];
    float logits[kPanel];
    multiply(model.kernels(), panels_from(model.head, item.panel), 0, 1, in.inputs, model.shape().activations,
             item.row, 1, logits, kPanel, false, {});
    for (int64_t c = item.begin; c < item.end; ++c) out[c] = logits[tokens[c] % kPanel];
  }
}

std::vector<ChildItem> child_items(int num_rows, const int64_t* ptr, const int32_t* tokens) {
  std::vector<ChildItem> items;
  for (int r = 0; r < num_rows; ++r)
    for (int64_t c = ptr[r]; c < ptr[r + 1];) {
      const int panel = tokens[c] / kPanel;
      int64_t end = c;
      while (end < ptr[r + 1] && tokens[end] / kPanel == panel) ++end;
      items.push_back({panel, r, c, end});
      c = end;
    }
  std::sort(items.begin(), items.end(), [](const ChildItem& a, const ChildItem& b) {
    return a.panel != b.panel ? a.panel < b.panel : a.row < b.row;
  });
  return items;
}

namespace {

void raw_scores(Transformer& model, const HeadInputs& in, int num_rows, const int64_t* ptr, const int32_t* tokens,
                float* out, Stop* stop) {
  const Shape& shape = model.shape();
  const KernelTable& kernels = model.kernels();
  const Panels& head = model.head;
  ThreadTeam& team = model.team();
  const int pieces = (head.num_panels + kPiecePanels - 1) / kPiecePanels;
  std::vector<float> maxima(static_cast<size_t>(num_rows) * pieces), sums(maxima.size());
  std::vector<Lines<float>> tiles(team.size());
  team.run([&](int thread) {
    model.clock().start(thread);
    Lines<float>& tile = tiles[thread];
    tile.resize(static_cast<size_t>(std::min(kTileRows, num_rows)) * kPieceTokens);
    const Range mine = split(pieces, thread, team.active());
    for (int piece = mine.begin; piece < mine.end; ++piece) {
      const int begin = piece * kPiecePanels, end = std::min(begin + kPiecePanels, head.num_panels);
      const int low = begin * kPanel, high = std::min(end * kPanel, shape.vocab);
      for (int first = 0; first < num_rows; first += kTileRows) {
        const int rows = std::min(kTileRows, num_rows - first);
        if (stop && thread == 0) stop->look(kMeeting);
        if (stop && stop->stopped()) break;
        multiply(kernels, panels_from(head, begin), 0, end - begin, in.inputs, shape.activations, first, rows,
                 tile.data(), kPieceTokens, false, model.schedule.of(num_rows).head,
                 piece + 1 < mine.end ? reading(head, end) : Reading{});
        for (int r = 0; r < rows; ++r) {
          const float* logits = tile.data() + static_cast<int64_t>(r) * kPieceTokens;
          const size_t cell = static_cast<size_t>(first + r) * pieces + piece;
          kernels.log_sum_exp(logits, high - low, &maxima[cell], &sums[cell]);
          const int32_t* last = tokens + ptr[first + r + 1];
          for (const int32_t* t = std::lower_bound(tokens + ptr[first + r], last, low); t != last && *t < high; ++t)
            out[t - tokens] = logits[*t - low];
        }
      }
    }
    model.clock().worked(thread, Stage::kHead);
    team.barrier();
    model.clock().waited(thread, Stage::kHead);
    if (stop && stop->by(kMeeting)) return;
    const Range rows = split(num_rows, thread, team.active());
    for (int r = rows.begin; r < rows.end; ++r) {
      const float* m = maxima.data() + static_cast<size_t>(r) * pieces;
      const float top = *std::max_element(m, m + pieces);
      float total = 0.0f;
      for (int piece = 0; piece < pieces; ++piece)
        total += sums[static_cast<size_t>(r) * pieces + piece] * std::exp(m[piece] - top);
      const float normaliser = top + std::log(total);
      for (int64_t c = ptr[r]; c < ptr[r + 1]; ++c) out[c] -= normaliser;
    }
  });
}

// Only panels that hold a child are multiplied: one item per (panel, row).
void renormalised_scores(Transformer& model, const HeadInputs& in, int num_rows, const int64_t* ptr,
                         const int32_t* tokens, float* out) {
  const std::vector<ChildItem> items = child_items(num_rows, ptr, tokens);
  ThreadTeam& team = model.team();
  team.run([&](int thread) {
    const Range mine = split(static_cast<int>(items.size()), thread, team.active());
    child_logits(model, in, items, mine, tokens, out);
    team.barrier();
    const Range rows = split(num_rows, thread, team.active());
    for (int r = rows.begin; r < rows.end; ++r) {
      if (ptr[r] == ptr[r + 1]) continue;
      const float top = *std::max_element(out + ptr[r], out + ptr[r + 1]);
      float total = 0.0f;
      for (int64_t c = ptr[r]; c < ptr[r + 1]; ++c) total += std::exp(out[c] - top);
      const float normaliser = top + std::log(total);
      for (int64_t c = ptr[r]; c < ptr[r + 1]; ++c) out[c] = ptr[r + 1] - ptr[r] == 1 ? 0.0f : out[c] - normaliser;
    }
  });
}

}  // namespace

bool child_scores(Transformer& model, const float* hidden, int num_rows, const int64_t* ptr, const int32_t* tokens,
                  Normaliser normaliser, float* out, Stop* stop) {
  HeadInputs in;
  prepare_head(model, hidden, num_rows, in);
  if (normaliser == Normaliser::kChildren)
    renormalised_scores(model, in, num_rows, ptr, tokens, out);
  else if (normaliser == Normaliser::kFrequent)
    bounding_scores(model, in, num_rows, ptr, tokens, out, stop);
  else
    raw_scores(model, in, num_rows, ptr, tokens, out, stop);
  return stop == nullptr || !stop->stopped();
}

void full_logits(Transformer& model, const float* hidden, int num_rows, float* out) {
  HeadInputs in;
  prepare_head(model, hidden, num_rows, in);
  const int vocab = model.shape().vocab, width = padded(vocab);
  std::vector<float> padded_rows(width == vocab ? 0 : static_cast<size_t>(num_rows) * width);
  float* rows = width == vocab ? out : padded_rows.data();
  model.team().run([&](int thread) {
    const Range panels = split(model.head.num_panels, thread, model.team().active());
    multiply(model.kernels(), model.head, panels.begin, panels.end, in.inputs, model.shape().activations, 0,
             num_rows, rows, width, false, model.schedule.of(num_rows).head);
  });
  for (int r = 0; rows != out && r < num_rows; ++r)
    std::copy_n(rows + static_cast<int64_t>(r) * width, vocab, out + static_cast<int64_t>(r) * vocab);
}

}  // namespace adtrie
