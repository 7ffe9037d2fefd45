// The linear stream (docs/design/format.md) as kernels walk it: panels of one form at a time, and the plain
// arithmetic of a survivor. In an anonymous namespace like all that instruction-set files include.
#pragma once
#include "kernels.h"

namespace adtrie {
namespace {

// One panel: its codes, its scales and minima, the first of its 16 columns of y.
struct Stripe {
  const uint8_t* codes;
  const uint16_t* scales;
  const uint16_t* mins;
  int column;
};

constexpr int kWindow = 128;  // panels of a linear that are handed out at a time

inline Stripe stripe_of(const Panels& w, int p) {
  const int64_t at = scales_at(w, p);
  return {panel_data(w, p), w.scales + at, w.mins ? w.mins + at : nullptr, p * kPanel};
}

// Panels of one form as they are taken, and what is read after them.
struct Series {
  Format form;
  const Stripe* stripes;
  int count;
  Reading next;
};

// Calls run(series) for the panels [begin, end) of a linear as they lie in memory, neighbours of one form together.
// `after` is read after the last ones.
template <typename Run>
inline void for_each_neighbourhood(const Panels& w, int begin, int end, Reading after, Run run) {
  Stripe stripes[kWindow];
  int count = 0;
  for (int p = begin; p < end; ++p) {
    stripes[count++] = stripe_of(w, p);
    const Format form = panel_format(w, p);
    if (p + 1 < end && count < kWindow && panel_format(w, p + 1) == form) continue;
    run(Series{form, stripes, count, p + 1 < end ? reading(w, p + 1) : after});
    count = 0;
  }
}

// Calls run(series) for the panels [begin, end) of a linear, those of one form together, so that kernels can take
// several at once however the patterns are mixed.
template <typename Run>
inline void for_each_form(const Panels& w, int begin, int end, Reading after, Run run) {
  constexpr Format kForms[] = {Format::kQ8, Format::kQ4, Format::kS24, Format::kS14};
  constexpr int kNumForms = static_cast<int>(Format::kMixed);
  Stripe stripes[kWindow];
  uint8_t order[kNumForms][kWindow];
  for (int first = begin; first < end; first += kWindow) {
    const int last = first + kWindow < end ? first + kWindow : end;
    int counts[kNumForms] = {};
    for (int p = first; p < last; ++p) {
      const int form = static_cast<int>(panel_format(w, p));
      order[form][counts[form]++] = static_cast<uint8_t>(p - first);
    }
    int sorted = 0;
    for (Format form : kForms)
      for (int i = 0; i < counts[static_cast<int>(form)]; ++i)
        stripes[sorted++] = stripe_of(w, first + order[static_cast<int>(form)][i]);
    const Reading next = last < end ? reading(w, last) : after;
    const Stripe* of_form = stripes;
    for (Format form : kForms) {
      const int count = counts[static_cast<int>(form)];
      if (count == 0) continue;
      const Stripe* past = of_form + count;
      run(Series{form, of_form, count, past < stripes + sorted ? Reading{past->codes, past->scales} : next});
      of_form = past;
    }
  }
}

// Survivor `number` of a row of a sparse panel: its value (code - 8) and its position in its block of four.
struct Survivor {
  int value, position;
};

inline Survivor survivor(const uint8_t* panel, int lane, int number) {
  const uint8_t* slot = panel + number / 16 * 192 + lane * 4 + number % 4;
  const int step = number % 16 / 4, x = slot[step / 2 * 64], z = slot[128];
  const int code = step == 1 ? z >> 4 : step == 3 ? z & 15 : x >> 4;
  return {code - 8, x >> step % 2 * 2 & 3};
}

// Value (code - zero, or the code where there are minima) of any quantized panel at (lane, input).
inline int value_at(const uint8_t* panel, Format form, int zero, int lane, int input) {
  if (form == Format::kQ8) return panel[input / 4 * 64 + lane * 4 + input % 4] - zero;
  if (form == Format::kQ4) {
    const int byte = panel[input / 8 * 64 + lane * 4 + input % 4];
    return (input % 8 < 4 ? byte & 15 : byte >> 4) - zero;
  }
  const int kept = form == Format::kS24 ? 2 : 1;
  int value = 0;
  for (int i = 0; i < kept; ++i) {
    const Survivor found = survivor(panel, lane, input / 4 * kept + i);
    if (found.position == input % 4) value = found.value;
  }
  return value;
}

}  // namespace
}  // namespace adtrie
