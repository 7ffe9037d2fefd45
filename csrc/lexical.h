// Cosines of TF-IDF vectors of character grams: the fast twin of catalogue/lexical.py, which defines them to the bit.
// Knows no Python. Arrays are borrowed; an index that does not fit itself is refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace adtrie {

// The arrays of a LexicalIndex: grams ascend, those of text docs[i] weigh weights[i], ptr[g] to ptr[g + 1] of gram g.
struct GramIndex {
  const uint64_t* grams;
  const double* rarity;
  const int64_t* ptr;
  size_t num_grams;
  const int32_t* docs;
  const float* weights;
  size_t num_postings, num_texts;
};

// float32[num_texts] of a query given as code points, each word between two spaces; of_count[n - 1]: what a gram that
// occurs n times counts, for as many as there are letters. Throws std::invalid_argument for damaged arrays.
std::vector<float> cosines(const GramIndex& index, const uint32_t* letters, size_t num_letters, const double* of_count);

}  // namespace adtrie
