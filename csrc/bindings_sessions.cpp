// Python bindings of sessions, whose rows follow one another, and of lanes, which feed rows of many requests.
#include <memory>
#include <mutex>
#include <numeric>

#include "bindings.h"
#include "logit_memory.h"
#include "transformer.h"

using namespace adtrie;

namespace {

void check_children(const Transformer& model, size_t num_rows, Array<int64_t, 1> ptr, Array<int32_t, 1> children) {
  check(ptr.size() == num_rows + 1 && ptr.data()[0] == 0 &&
            ptr.data()[num_rows] == static_cast<int64_t>(children.size()),
        "child_ptr must run from 0 to the number of children, one more entry than rows");
  for (size_t r = 0; r < num_rows; ++r) {
    check(ptr.data()[r] <= ptr.data()[r + 1], "child_ptr must not fall");
    int previous = -1;
    for (int64_t c = ptr.data()[r]; c < ptr.data()[r + 1]; ++c) {
      check(children.data()[c] > previous && children.data()[c] < model.shape().vocab,
            "children of a row must be ascending tokens of the vocabulary");
      previous = children.data()[c];
    }
  }
}

// Forwards over rows: what a session and a lane share.
struct Feeder {
  Transformer& model;
  Cache cache;
  std::shared_ptr<LogitMemory> logit_memory = std::make_shared<LogitMemory>();
  std::vector<float> hidden;
  std::vector<uint8_t> asked;  // which rows have children
  std::vector<int64_t> kept;
  Feeder(Transformer& m, std::shared_ptr<CacheRows> rows) : model(m), cache(m, std::move(rows)) {}
  static std::shared_ptr<CacheRows> new_rows(const Transformer& model, int max_rows) {
    check(max_rows > 0, "max_rows out of range");
    return std::make_shared<CacheRows>(model.shape(), model.head_stride(), max_rows);
  }

  // Tokens of the vocabulary, free places, parents before their children, context left; nothing stays of a refusal.
  void place(Array<int32_t, 1> tokens, Array<int32_t, 1> parents, const int32_t* places) {
    const Shape& shape = model.shape();
    CacheRows& rows = cache.rows();
    check(tokens.size() == parents.size() && tokens.size() > 0,
          "tokens and parents must have one equal, positive length");
    size_t i = 0;
    try {
      for (; i < tokens.size(); ++i) {
        const int token = tokens.data()[i], parent = parents.data()[i], row = places[i];
        if (token < 0 || token >= shape.vocab)
          throw std::invalid_argument("token " + std::to_string(token) + " is outside the vocabulary");
        check(row >= 0 && row < rows.max_rows && !rows.is_fed(row), "place of a row is taken or does not exist");
        if (parent < -1 || parent >= rows.max_rows || (parent >= 0 && !rows.is_fed(parent)))
          throw std::invalid_argument("parent " + std::to_string(parent) + " is not an earlier row");
        check(parent < 0 || rows.lengths[parent] < shape.max_positions, "path is longer than the model's context");
        rows.place(row, parent);
      }
    } catch (...) {
      while (i > 0) rows.lengths[places[--i]] = 0;
      throw;
    }
  }

  bool forward(Array<int32_t, 1> tokens, Array<int32_t, 1> parents, const int32_t* places, const uint8_t* which,
               Stop* stop) {
    place(tokens, parents, places);
    hidden.resize(tokens.size() * model.shape().hidden);
    return cache.forward(tokens.data(), places, static_cast<int>(tokens.size()), which, hidden.data(), stop);
  }

  // Rows without children need neither head nor the end of the last layer. Nothing where `stop` ended it: then no row
  // was fed.
  std::optional<std::vector<float>> score(Array<int32_t, 1> tokens, Array<int32_t, 1> parents, const int32_t* places,
                                          Array<int64_t, 1> ptr, Array<int32_t, 1> children, Normaliser normaliser,
                                          Stop* stop) {
    check_children(model, tokens.size(), ptr, children);
    check(normaliser != Normaliser::kFrequent || !model.is_frequent.empty(), "no frequent tokens were chosen");
    asked.assign(tokens.size(), 0);
    kept.assign(1, 0);
    for (size_t r = 0; r < tokens.size(); ++r) {
      if (ptr.data()[r] == ptr.data()[r + 1]) continue;
      asked[r] = 1;
      kept.push_back(ptr.data()[r + 1]);
    }
    bool complete = forward(tokens, parents, places, asked.data(), stop);
    std::vector<float> out(children.size());
    if (complete && !out.empty())
      complete = child_scores(model, hidden.data(), static_cast<int>(kept.size()) - 1, kept.data(), children.data(),
                              normaliser, out.data(), stop);
    if (complete) return out;
    for (size_t i = 0; i < tokens.size(); ++i) cache.rows().lengths[places[i]] = 0;
    return std::nullopt;
  }

  // Of the rows that `wanted` marks; the others are only fed.
  nb::ndarray<nb::numpy, float> logits(Array<int32_t, 1> tokens, Array<int32_t, 1> parents, const int32_t* places,
                                       Array<uint8_t, 1> wanted) {
    check(wanted.size() == tokens.size(), "one mark for each token");
    size_t count = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      check(wanted.data()[i] <= 1, "marks are 0 or 1");
      count += wanted.data()[i];
    }
    nb::ndarray<nb::numpy, float> out = LogitMemory::lend(logit_memory, count, model.shape().vocab);
    nb::gil_scoped_release release;
    forward(tokens, parents, places, wanted.data(), nullptr);
    if (count) full_logits(model, hidden.data(), static_cast<int>(count), out.data());
    return out;
  }
};

Normaliser normaliser_of(bool renormalise, bool bounded = false) {
  return renormalise ? Normaliser::kChildren : bounded ? Normaliser::kFrequent : Normaliser::kFull;
}

// Rows that follow one another: row i is the i-th that was fed.
struct Session : Feeder {
  int num_rows = 0;
  std::vector<int32_t> places;
  std::unique_ptr<RowMemory> states;  // hidden [max_rows, H] of rows whose scores are bounds, for `settle`
  Session(Transformer& model, int max_rows) : Feeder(model, new_rows(model, max_rows)) {}

  // The next `count` places; they count once the forward has succeeded.
  const int32_t* next(size_t count) {
    check(count <= static_cast<size_t>(cache.rows().max_rows - num_rows), "cache is full");
    places.resize(count);
    std::iota(places.begin(), places.end(), num_rows);
    return places.data();
  }
  void truncate(int count) {
    for (int row = count; row < num_rows; ++row) cache.rows().lengths[row] = 0;
    num_rows = count;
  }
  // The rows just scored begin at `first`; `asked` marks whose states are at the front of `hidden`.
  void keep_states(int first) {
    const size_t width = model.shape().hidden;
    if (!states) states = std::make_unique<RowMemory>(static_cast<size_t>(cache.rows().max_rows) * width);
    const float* next = hidden.data();
    for (size_t i = 0; i < asked.size(); ++i)
      if (asked[i]) std::copy_n(next, width, states->data() + (first + i) * width), next += width;
  }
  std::vector<float> settle(Array<int32_t, 1> rows, Array<int64_t, 1> ptr, Array<int32_t, 1> children) {
    check_children(model, rows.size(), ptr, children);
    const size_t width = model.shape().hidden;
    hidden.resize(rows.size() * width);
    for (size_t i = 0; i < rows.size(); ++i) {
      check(states && rows.data()[i] >= 0 && rows.data()[i] < num_rows, "only rows with bounds can be settled");
      std::copy_n(states->data() + rows.data()[i] * width, width, hidden.data() + i * width);
    }
    std::vector<float> out(children.size());
    if (!out.empty())
      child_scores(model, hidden.data(), static_cast<int>(rows.size()), ptr.data(), children.data(), Normaliser::kFull,
                   out.data(), nullptr);
    return out;
  }
};

// Feeds rows of many requests to places that the caller chooses; lanes of models on the same weights share rows.
struct Lane : Feeder {
  using Feeder::Feeder;
};

void bind_stop(nb::module_& m) {
  nb::class_<Stop>(m, "Stop", "Ends one forward `ms` from now or, for tests, at look number `looks` (from 0) already.")
      .def(nb::init<double, int>(), nb::arg("ms"), nb::arg("looks") = -1);
}

void bind_session(nb::module_& m) {
  nb::class_<Session>(m, "Session")
      .def(nb::init<Transformer&, int>(), nb::arg("model"), nb::arg("max_rows"), nb::keep_alive<1, 2>())
      .def_prop_ro("num_rows", [](const Session& self) { return self.num_rows; })
      .def_prop_ro("max_rows", [](const Session& self) { return self.cache.rows().max_rows; })
      .def("truncate",
           [](Session& self, int rows) {
             check(rows >= 0 && rows <= self.num_rows, "cannot truncate to that many rows");
             self.truncate(rows);
           })
      .def("forward",
           [](Session& self, Array<int32_t, 1> tokens, Array<int32_t, 1> parents) {
             {
               nb::gil_scoped_release release;
               self.forward(tokens, parents, self.next(tokens.size()), nullptr, nullptr);
               self.num_rows += static_cast<int>(tokens.size());
             }
             return owned(std::vector<float>(self.hidden),
                          {tokens.size(), static_cast<size_t>(self.model.shape().hidden)});
           },
           "Hidden states float32[T, H] after the final norm of the appended rows.")
      .def("score",
           [](Session& self, Array<int32_t, 1> tokens, Array<int32_t, 1> parents, Array<int64_t, 1> ptr,
              Array<int32_t, 1> children, bool renormalise, Stop* stop,
              bool bounded) -> std::optional<nb::ndarray<nb::numpy, float>> {
             std::optional<std::vector<float>> out;
             {
               nb::gil_scoped_release release;
               out = self.score(tokens, parents, self.next(tokens.size()), ptr, children,
                                normaliser_of(renormalise, bounded), stop);
               if (out && bounded) self.keep_states(self.num_rows);
               if (out) self.num_rows += static_cast<int>(tokens.size());
             }
             if (!out) return std::nullopt;
             const size_t count = out->size();
             return owned(std::move(*out), {count});
           },
           nb::arg("tokens"), nb::arg("parents"), nb::arg("child_ptr"), nb::arg("children"), nb::arg("renormalise"),
           nb::arg("stop") = nb::none(), nb::arg("bounded") = false,
           "Log-probabilities float32[C] of the listed children of each appended row; None where `stop` ended it. "
           "bounded: upper bounds of them.")
      .def("settle",
           [](Session& self, Array<int32_t, 1> rows, Array<int64_t, 1> ptr, Array<int32_t, 1> children) {
             std::vector<float> out;
             {
               nb::gil_scoped_release release;
               out = self.settle(rows, ptr, children);
             }
             const size_t count = out.size();
             return owned(std::move(out), {count});
           },
           nb::arg("rows"), nb::arg("child_ptr"), nb::arg("children"),
           "Log-probabilities float32[C] of children of rows whose scores were bounds.")
      .def("logits",
           [](Session& self, Array<int32_t, 1> tokens, Array<int32_t, 1> parents, Array<uint8_t, 1> wanted) {
             auto out = self.logits(tokens, parents, self.next(tokens.size()), wanted);
             self.num_rows += static_cast<int>(tokens.size());
             return out;
           },
           nb::arg("tokens"), nb::arg("parents"), nb::arg("wanted"),
           "Logits float32[W, V] of the appended rows marked 1.");
}

void bind_lane(nb::module_& m) {
  nb::class_<Lane>(m, "Lane")
      .def(
          "__init__",
          [](Lane* self, Transformer& model, int max_rows) {
            new (self) Lane(model, Feeder::new_rows(model, max_rows));
          },
          nb::arg("model"), nb::arg("max_rows"), nb::keep_alive<1, 2>())
      .def(
          "__init__",
          [](Lane* self, Transformer& model, Lane& sharing) {
            check(model.head_stride() == sharing.model.head_stride() &&
                      model.embed.data == sharing.model.embed.data,
                  "lanes share rows only on the same weights");
            new (self) Lane(model, sharing.cache.share_rows());
          },
          nb::arg("model"), nb::arg("sharing"), nb::keep_alive<1, 2>())
      .def_prop_ro("max_rows", [](const Lane& self) { return self.cache.rows().max_rows; })
      .def("release",
           [](Lane& self, Array<int32_t, 1> places) {
             for (size_t i = 0; i < places.size(); ++i)
               check(places.data()[i] >= 0 && places.data()[i] < self.cache.rows().max_rows, "no such place");
             for (size_t i = 0; i < places.size(); ++i) self.cache.rows().lengths[places.data()[i]] = 0;
           },
           "Frees places. With a row all rows that continue it must go, and no forward may be using them.")
      .def("score",
           [](Lane& self, Array<int32_t, 1> tokens, Array<int32_t, 1> parents, Array<int32_t, 1> places,
              Array<int64_t, 1> ptr, Array<int32_t, 1> children, bool renormalise) {
             check(places.size() == tokens.size(), "one place for each token");
             std::optional<std::vector<float>> out;
             {
               nb::gil_scoped_release release;
               out = self.score(tokens, parents, places.data(), ptr, children, normaliser_of(renormalise), nullptr);
             }
             const size_t count = out->size();
             return owned(std::move(*out), {count});
           },
           nb::arg("tokens"), nb::arg("parents"), nb::arg("places"), nb::arg("child_ptr"), nb::arg("children"),
           nb::arg("renormalise"),
           "Log-probabilities float32[C] of the listed children of rows fed to `places`; parents are places, or -1.")
      .def("logits",
           [](Lane& self, Array<int32_t, 1> tokens, Array<int32_t, 1> parents, Array<int32_t, 1> places,
              Array<uint8_t, 1> wanted) {
             check(places.size() == tokens.size(), "one place for each token");
             return self.logits(tokens, parents, places.data(), wanted);
           },
           nb::arg("tokens"), nb::arg("parents"), nb::arg("places"), nb::arg("wanted"),
           "Logits float32[W, V] of the rows marked 1 of those fed to `places`; parents are places, or -1.");
}

}  // namespace

namespace adtrie {

void bind_sessions(nb::module_& m) {
  bind_stop(m);
  bind_session(m);
  bind_lane(m);
}

}  // namespace adtrie
