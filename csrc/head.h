// What the ways of normalising the head share: its input rows, its pieces, logits of listed children alone.
#pragma once
#include <vector>

#include "linear.h"
#include "transformer.h"

namespace adtrie {

constexpr int kPiecePanels = 64, kPieceTokens = kPiecePanels * kPanel, kTileRows = 32;
constexpr int kMeeting = 1;  // of all threads, the only one in the head

struct HeadInputs {
  PreparedRows prepared;
  Inputs inputs{};
};

void prepare_head(Transformer& model, const float* hidden, int num_rows, HeadInputs& in);

// Children [begin, end) of a row that lie in one panel of the head.
struct ChildItem {
  int panel, row;
  int64_t begin, end;
};

// All children, by panel and row.
std::vector<ChildItem> child_items(int num_rows, const int64_t* ptr, const int32_t* tokens);
// Logits of the children of those items.
void child_logits(Transformer& model, const HeadInputs& in, const std::vector<ChildItem>& items, Range mine,
                  const int32_t* tokens, float* out);
// Upper bounds of raw scores: normalised over the frequent tokens and the listed children only.
void bounding_scores(Transformer& model, const HeadInputs& in, int num_rows, const int64_t* ptr, const int32_t* tokens,
                     float* out, Stop* stop);

}  // namespace adtrie
