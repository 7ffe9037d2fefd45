// Python bindings: the only file that knows Python. Arrays are checked here; the rest trusts its arguments.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "transformer.h"

namespace nb = nanobind;
using namespace adtrie;

namespace {

template <typename T, int Dims>
using Array = nb::ndarray<const T, nb::ndim<Dims>, nb::c_contig, nb::device::cpu>;

constexpr int kMostRows = 1 << 26;  // outputs or inputs of a linear: far above any, far below overflow

template <typename T>
nb::ndarray<nb::numpy, T> owned(std::vector<T>&& values, std::vector<size_t> shape) {
  auto* held = new std::vector<T>(std::move(values));
  nb::capsule owner(held, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  return nb::ndarray<nb::numpy, T>(held->data(), shape.size(), shape.data(), owner);
}

void check(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(message);
}

const KernelTable& kernels_named(const std::string& name) {
  const KernelTable* table = select_kernels(name.c_str());
  if (table == nullptr)
    throw std::invalid_argument("instruction set '" + name + "' is unknown or not available on this machine");
  return *table;
}

// Outputs and inputs of the linear called `name` in a model of that shape.
std::pair<int, int> slot_shape(const Shape& s, const std::string& name) {
  const int heads = s.num_heads * s.head_size, kv_heads = s.num_kv_heads * s.head_size;
  if (name == "embed" || name == "head") return {s.vocab, s.hidden};
  if (name == "q") return {heads, s.hidden};
  if (name == "k" || name == "v") return {kv_heads, s.hidden};
  if (name == "o") return {s.hidden, heads};
  if (name == "down") return {s.hidden, s.intermediate};
  return {s.intermediate, s.hidden};
}

Panels& linear_slot(Transformer& model, int layer, const std::string& name, int64_t num_outputs, int64_t num_inputs) {
  const auto [rows, columns] = slot_shape(model.shape(), name);
  if (num_outputs != rows || num_inputs != columns)
    throw std::invalid_argument("linear '" + name + "': expected [" + std::to_string(rows) + ", " +
                                std::to_string(columns) + "], got [" + std::to_string(num_outputs) + ", " +
                                std::to_string(num_inputs) + "]");
  if (layer < 0) {
    if (name == "embed") return model.embed;
    if (name == "head") return model.head;
  } else if (layer < static_cast<int>(model.layers.size())) {
    Layer& l = model.layers[layer];
    const std::pair<const char*, Panels*> slots[] = {{"q", &l.q},       {"k", &l.k},   {"v", &l.v},      {"o", &l.o},
                                                     {"gate", &l.gate}, {"up", &l.up}, {"down", &l.down}};
    for (const auto& slot : slots)
      if (name == slot.first) return *slot.second;
  }
  throw std::invalid_argument("no linear '" + name + "' in layer " + std::to_string(layer));
}

std::vector<float>& vector_slot(Transformer& model, int layer, const std::string& name) {
  if (layer < 0) {
    if (name == "final_norm") return model.final_norm;
    if (name == "rope_frequencies") return model.rope_frequencies;
  } else if (layer < static_cast<int>(model.layers.size())) {
    Layer& l = model.layers[layer];
    const std::pair<const char*, std::vector<float>*> slots[] = {
        {"attn_norm", &l.attn_norm}, {"mlp_norm", &l.mlp_norm}, {"q_norm", &l.q_norm},
        {"k_norm", &l.k_norm},       {"qkv_bias", &l.qkv_bias}, {"o_bias", &l.o_bias}};
    for (const auto& slot : slots)
      if (name == slot.first) return *slot.second;
  }
  throw std::invalid_argument("no vector '" + name + "' in layer " + std::to_string(layer));
}

Panels packed(Arena& arena, Array<uint8_t, 2> codes, Array<uint16_t, 2> scales,
              std::optional<Array<uint16_t, 2>> mins, int bits, int group) {
  const int n = static_cast<int>(codes.shape(0)), k = static_cast<int>(codes.shape(1));
  check(bits == 4 || bits == 8, "bits must be 4 or 8");
  check(group > 0 && group % kBlock == 0 && k % group == 0, "group must be a multiple of 32 that divides the inputs");
  check(scales.shape(0) == codes.shape(0) && static_cast<int>(scales.shape(1)) == k / group, "scales: wrong shape");
  check(!mins || (mins->shape(0) == scales.shape(0) && mins->shape(1) == scales.shape(1)), "mins: wrong shape");
  if (bits == 4)
    for (size_t i = 0; i < codes.size(); ++i) check(codes.data()[i] < 16, "4-bit code above 15");
  return pack_quantized(arena, codes.data(), scales.data(), mins ? mins->data() : nullptr, bits, group, n, k);
}

PackedStream checked_stream(Array<uint8_t, 1> stream, Array<uint16_t, 3> scales, Array<uint8_t, 1> kept, int bits,
                            int group, int num_outputs, int num_inputs) {
  check(bits == 4 || bits == 8, "bits must be 4 or 8");
  check(num_outputs > 0 && num_outputs <= kMostRows && num_inputs > 0 && num_inputs <= kMostRows,
        "outputs and inputs must be from 1 to 2^26");
  check(group > 0 && num_inputs % group == 0, "group must divide the inputs");
  const size_t panels = (static_cast<size_t>(num_outputs) + kPanel - 1) / kPanel;
  check(kept.size() == panels, "kept: one entry per panel of 16 outputs expected");
  for (size_t p = 0; p < panels; ++p) {
    const int n = kept.data()[p];
    check(n == 4 || (bits == 4 && (n == 1 || n == 2)), "kept: 4, or with 4 bits 2 or 1 of four expected");
    check(n == 4 || num_inputs % 4 == 0, "sparse panels need inputs in whole blocks of four");
  }
  check(scales.shape(0) == panels && static_cast<int64_t>(scales.shape(1)) == num_inputs / group &&
            scales.shape(2) == kPanel,
        "scales: [panels, inputs / group, 16] expected");
  const PackedStream packed = {stream.data(), scales.data(), kept.data(), bits, group, num_outputs, num_inputs};
  check(static_cast<int64_t>(stream.size()) == stream_bytes(packed), "stream: not as long as its panels");
  return packed;
}

// Keeps a Python array alive; its last reference may go without the interpreter's lock.
template <typename A>
std::shared_ptr<const void> held(const A& array) {
  return std::make_shared<A>(array);
}

// Rows that a forward may append: tokens in the vocabulary, parents before their children, room and context left.
void check_rows(const Transformer& model, const Cache& cache, Array<int32_t, 1> tokens, Array<int32_t, 1> parents) {
  const Shape& shape = model.shape();
  const int count = static_cast<int>(tokens.size()), rows = cache.num_rows();
  check(tokens.size() == parents.size() && count > 0, "tokens and parents must have one equal, positive length");
  check(rows + count <= cache.max_rows(), "cache is full");
  std::vector<int> depth(count);
  for (int i = 0; i < count; ++i) {
    const int token = tokens.data()[i], parent = parents.data()[i];
    if (token < 0 || token >= shape.vocab)
      throw std::invalid_argument("token " + std::to_string(token) + " is outside the vocabulary");
    if (parent < -1 || parent >= rows + i)
      throw std::invalid_argument("parent " + std::to_string(parent) + " is not an earlier row");
    depth[i] = parent < 0 ? 0 : (parent < rows ? cache.position(parent) : depth[parent - rows]) + 1;
    check(depth[i] < shape.max_positions, "path is longer than the model's context");
  }
}

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

size_t padded_outputs(const Panels& w) { return static_cast<size_t>(w.num_panels) * kPanel; }

template <typename F>
std::vector<double> seconds_of_each(int repeats, F run) {
  check(repeats > 0 && repeats <= 1 << 20, "repeats must be from 1 to 2^20");
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return seconds;
}

// out[T, padded N] = W x, `repeats` times; seconds of each.
std::vector<double> multiply_float(const Panels& w, Array<float, 2> x, const std::string& isa, int repeats,
                                   std::vector<float>& out) {
  const KernelTable& kernels = kernels_named(isa);
  check(static_cast<int>(x.shape(1)) == w.num_inputs, "x: wrong width");
  out.resize(x.shape(0) * padded_outputs(w));
  return seconds_of_each(repeats, [&] {
    (w.group == 0 ? kernels.gemm_f32 : kernels.gemm_q_f32)(w, 0, w.num_panels, x.data(), w.num_inputs,
                                                           static_cast<int>(x.shape(0)), out.data(),
                                                           padded_outputs(w), false);
  });
}

struct Int8Arrays {
  Array<int8_t, 2> codes;
  Array<float, 2> scales;
  Array<int32_t, 2> sums;
};

std::vector<double> multiply_int8(const Panels& w, const Int8Arrays& x, const std::string& isa, int repeats,
                                  std::vector<float>& out) {
  const KernelTable& kernels = kernels_named(isa);
  const size_t blocks = w.num_inputs / kBlock, rows = x.codes.shape(0);
  check(w.group > 0, "a float linear takes float activations");
  check(w.group % kBlock == 0, "groups that are no multiple of 32 take float activations");
  check(static_cast<int>(x.codes.shape(1)) == w.num_inputs && x.scales.shape(0) == rows &&
            x.scales.shape(1) == blocks && x.sums.shape(0) == rows && x.sums.shape(1) == blocks,
        "activations: wrong shape");
  out.resize(rows * padded_outputs(w));
  std::vector<uint8_t> gather(w.sparse ? rows * w.num_inputs * 2 : 0);
  for (size_t r = 0; w.sparse && r < rows; ++r)
    kernels.gather_row(x.codes.data() + r * w.num_inputs, w.num_inputs, gather.data() + r * w.num_inputs * 2);
  const Int8Rows input = {x.codes.data(), x.scales.data(), x.sums.data(), w.num_inputs, gather.data()};
  return seconds_of_each(repeats, [&] {
    kernels.gemm_q_i8(w, 0, w.num_panels, input, static_cast<int>(rows), out.data(), padded_outputs(w), false);
  });
}

struct Session {
  Transformer& model;
  Cache cache;
  std::vector<float> hidden, picked;
  Session(Transformer& m, int max_rows) : model(m), cache(m, max_rows) {}

  void forward(Array<int32_t, 1> tokens, Array<int32_t, 1> parents) {
    check_rows(model, cache, tokens, parents);
    hidden.resize(tokens.size() * model.shape().hidden);
    cache.forward(tokens.data(), parents.data(), static_cast<int>(tokens.size()), hidden.data());
  }

  // Rows without children need no head: theirs are left out before it.
  std::vector<float> score(Array<int32_t, 1> tokens, Array<int32_t, 1> parents, Array<int64_t, 1> ptr,
                           Array<int32_t, 1> children, bool renormalise) {
    check_children(model, tokens.size(), ptr, children);
    forward(tokens, parents);
    const int width = model.shape().hidden;
    std::vector<int64_t> kept(1, 0);
    picked.clear();
    for (size_t r = 0; r < tokens.size(); ++r) {
      if (ptr.data()[r] == ptr.data()[r + 1]) continue;
      picked.insert(picked.end(), hidden.begin() + r * width, hidden.begin() + (r + 1) * width);
      kept.push_back(ptr.data()[r + 1]);
    }
    std::vector<float> out(children.size());
    if (!out.empty())
      child_scores(model, picked.data(), static_cast<int>(kept.size()) - 1, kept.data(), children.data(), renormalise,
                   out.data());
    return out;
  }
};

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "adtrie native core: kernels, packed weights and the forward over a token tree";

  m.def("isa", [](const std::string& name) { return std::string(kernels_named(name).name); }, nb::arg("name") = "",
        "Name of the kernel table chosen for `name` ('' = best). Raises ValueError if it cannot run here.");

  nb::class_<Transformer>(m, "Model")
      .def(
          "__init__",
          [](Transformer* self, int num_layers, int hidden, int intermediate, int num_heads, int num_kv_heads,
             int head_size, int vocab, int max_positions, float rms_epsilon, bool int8_activations,
             const std::string& isa, int num_threads) {
            const Shape shape = {num_layers, hidden,        intermediate, num_heads,       num_kv_heads, head_size,
                                 vocab,      max_positions, rms_epsilon,  int8_activations};
            check(num_layers > 0 && hidden > 0 && intermediate > 0 && num_heads > 0 && num_kv_heads > 0 &&
                      head_size > 0 && head_size % 2 == 0 && vocab > 0 && max_positions > 0 &&
                      num_heads % num_kv_heads == 0 && num_threads > 0 && num_threads <= 256,
                  "model shape out of range");
            new (self) Transformer(shape, kernels_named(isa), num_threads);
          },
          nb::kw_only(), nb::arg("num_layers"), nb::arg("hidden"), nb::arg("intermediate"), nb::arg("num_heads"),
          nb::arg("num_kv_heads"), nb::arg("head_size"), nb::arg("vocab"), nb::arg("max_positions"),
          nb::arg("rms_epsilon"), nb::arg("int8_activations"), nb::arg("isa"), nb::arg("num_threads"))
      .def("set_vector",
           [](Transformer& self, int layer, const std::string& name, Array<float, 1> values) {
             vector_slot(self, layer, name).assign(values.data(), values.data() + values.size());
           })
      .def("set_float",
           [](Transformer& self, int layer, const std::string& name, Array<float, 2> values) {
             linear_slot(self, layer, name, values.shape(0), values.shape(1)) =
                 pack_f32(self.arena, values.data(), static_cast<int>(values.shape(0)), static_cast<int>(values.shape(1)));
           })
      .def("set_quantized",
           [](Transformer& self, int layer, const std::string& name, Array<uint8_t, 2> codes,
              Array<uint16_t, 2> scales, std::optional<Array<uint16_t, 2>> mins, int bits, int group) {
             linear_slot(self, layer, name, codes.shape(0), codes.shape(1)) = packed(self.arena, codes, scales, mins, bits, group);
           },
           nb::arg("layer"), nb::arg("name"), nb::arg("codes"), nb::arg("scales"), nb::arg("mins").none(),
           nb::arg("bits"), nb::arg("group"))
      .def("set_bfloat16",
           [](Transformer& self, int layer, const std::string& name, Array<float, 2> values) {
             linear_slot(self, layer, name, values.shape(0), values.shape(1)) =
                 pack_bf16(self.arena, values.data(), static_cast<int>(values.shape(0)),
                           static_cast<int>(values.shape(1)));
           },
           "Rounds float32[N, K] to the nearest bfloat16.")
      .def("set_packed",
           [](Transformer& self, int layer, const std::string& name, Array<uint8_t, 1> stream,
              Array<uint16_t, 3> scales, Array<uint8_t, 1> kept, int bits, int group, int num_outputs,
              int num_inputs) {
             Panels& slot = linear_slot(self, layer, name, num_outputs, num_inputs);
             const size_t used = self.arena.used();
             slot = refer(self.arena, checked_stream(stream, scales, kept, bits, group, num_outputs, num_inputs));
             self.borrowed.push_back(held(stream));
             self.borrowed.push_back(held(scales));
             const size_t copied = self.arena.used() - used;
             self.borrowed_bytes += packed_bytes(slot) - std::min(copied, packed_bytes(slot));
           },
           nb::arg("layer"), nb::arg("name"), nb::arg("stream"), nb::arg("scales"), nb::arg("kept"), nb::arg("bits"),
           nb::arg("group"), nb::arg("num_outputs"), nb::arg("num_inputs"),
           "Refers to a linear stream (docs/design/format.md), which must not change while the model lives.")
      .def("tie_head", [](Transformer& self) { self.head = self.embed; })
      .def_prop_ro("weight_bytes", [](const Transformer& self) { return self.arena.used() + self.borrowed_bytes; })
      .def_prop_ro("isa", [](const Transformer& self) { return std::string(self.kernels().name); })
      .def_prop_ro("num_threads", [](Transformer& self) { return self.team().size(); });

  nb::class_<Session>(m, "Session")
      .def(nb::init<Transformer&, int>(), nb::arg("model"), nb::arg("max_rows"), nb::keep_alive<1, 2>())
      .def_prop_ro("num_rows", [](const Session& self) { return self.cache.num_rows(); })
      .def_prop_ro("max_rows", [](const Session& self) { return self.cache.max_rows(); })
      .def("truncate",
           [](Session& self, int rows) {
             check(rows >= 0 && rows <= self.cache.num_rows(), "cannot truncate to that many rows");
             self.cache.truncate(rows);
           })
      .def("forward",
           [](Session& self, Array<int32_t, 1> tokens, Array<int32_t, 1> parents) {
             {
               nb::gil_scoped_release release;
               self.forward(tokens, parents);
             }
             return owned(std::vector<float>(self.hidden),
                          {tokens.size(), static_cast<size_t>(self.model.shape().hidden)});
           },
           "Hidden states float32[T, H] after the final norm of the appended rows.")
      .def("score",
           [](Session& self, Array<int32_t, 1> tokens, Array<int32_t, 1> parents, Array<int64_t, 1> ptr,
              Array<int32_t, 1> children, bool renormalise) {
             std::vector<float> out;
             {
               nb::gil_scoped_release release;
               out = self.score(tokens, parents, ptr, children, renormalise);
             }
             const size_t count = out.size();
             return owned(std::move(out), {count});
           },
           "Log-probabilities float32[C] of the listed children of each appended row.")
      .def("logits",
           [](Session& self, Array<float, 2> hidden) {
             check(static_cast<int>(hidden.shape(1)) == self.model.shape().hidden, "hidden: wrong width");
             std::vector<float> out(hidden.shape(0) * self.model.shape().vocab);
             {
               nb::gil_scoped_release release;
               full_logits(self.model, hidden.data(), static_cast<int>(hidden.shape(0)), out.data());
             }
             return owned(std::move(out), {hidden.shape(0), static_cast<size_t>(self.model.shape().vocab)});
           },
           "Logits float32[R, V] of hidden rows.");

  // One packed linear on its own, for tests and kernel benchmarks.
  struct Linear {
    Arena arena;
    std::vector<std::shared_ptr<const void>> borrowed;
    Panels panels;
  };
  nb::class_<Linear>(m, "Linear")
      .def("__init__",
           [](Linear* self, Array<float, 2> values) {
             new (self) Linear();
             self->panels = pack_f32(self->arena, values.data(), static_cast<int>(values.shape(0)),
                                     static_cast<int>(values.shape(1)));
           })
      .def("__init__",
           [](Linear* self, Array<uint8_t, 2> codes, Array<uint16_t, 2> scales,
              std::optional<Array<uint16_t, 2>> mins, int bits, int group) {
             new (self) Linear();
             self->panels = packed(self->arena, codes, scales, mins, bits, group);
           },
           nb::arg("codes"), nb::arg("scales"), nb::arg("mins").none(), nb::arg("bits"), nb::arg("group"))
      .def("__init__",
           [](Linear* self, Array<uint8_t, 1> stream, Array<uint16_t, 3> scales, Array<uint8_t, 1> kept, int bits,
              int group, int num_outputs, int num_inputs) {
             const PackedStream packed = checked_stream(stream, scales, kept, bits, group, num_outputs, num_inputs);
             new (self) Linear();
             self->panels = refer(self->arena, packed);
             self->borrowed = {held(stream), held(scales)};
           },
           nb::arg("stream"), nb::arg("scales"), nb::arg("kept"), nb::arg("bits"), nb::arg("group"),
           nb::arg("num_outputs"), nb::arg("num_inputs"))
      .def_static(
          "bfloat16",
          [](Array<float, 2> values) {
            auto linear = std::make_unique<Linear>();
            linear->panels = pack_bf16(linear->arena, values.data(), static_cast<int>(values.shape(0)),
                                       static_cast<int>(values.shape(1)));
            return linear;
          },
          "float32[N, K] rounded to bfloat16.")
      .def_prop_ro("num_bytes", [](const Linear& self) { return packed_bytes(self.panels); })
      .def("codes",
           [](const Linear& self) {
             check(self.panels.group > 0, "a float linear has no codes");
             std::vector<uint8_t> out(static_cast<size_t>(self.panels.num_outputs) * self.panels.num_inputs);
             unpack_codes(self.panels, out.data());
             return owned(std::move(out), {static_cast<size_t>(self.panels.num_outputs),
                                           static_cast<size_t>(self.panels.num_inputs)});
           })
      .def("row",
           [](const Linear& self, int row) {
             check(row >= 0 && row < self.panels.num_outputs, "row out of range");
             std::vector<float> out(self.panels.num_inputs);
             unpack_row(self.panels, row, out.data());
             const size_t count = out.size();
             return owned(std::move(out), {count});
           })
      .def("multiply",
           [](const Linear& self, Array<float, 2> x, const std::string& isa) {
             std::vector<float> out;
             multiply_float(self.panels, x, isa, 1, out);
             return owned(std::move(out), {x.shape(0), padded_outputs(self.panels)});
           },
           "y float32[T, padded N] by float activations.")
      .def("multiply_int8",
           [](const Linear& self, Array<int8_t, 2> codes, Array<float, 2> scales, Array<int32_t, 2> sums,
              const std::string& isa) {
             std::vector<float> out;
             multiply_int8(self.panels, {codes, scales, sums}, isa, 1, out);
             return owned(std::move(out), {codes.shape(0), padded_outputs(self.panels)});
           },
           "y float32[T, padded N] by 8-bit activations: codes[T, K], scales[T, K/32], sums[T, K/32].")
      .def("time_float",
           [](const Linear& self, Array<float, 2> x, const std::string& isa, int repeats) {
             std::vector<float> out;
             return multiply_float(self.panels, x, isa, repeats, out);
           },
           nb::arg("x"), nb::arg("isa"), nb::arg("repeats"), "Seconds of each of so many multiplications in a row.")
      .def("time_int8",
           [](const Linear& self, Array<int8_t, 2> codes, Array<float, 2> scales, Array<int32_t, 2> sums,
              const std::string& isa, int repeats) {
             std::vector<float> out;
             return multiply_int8(self.panels, {codes, scales, sums}, isa, repeats, out);
           },
           nb::arg("codes"), nb::arg("scales"), nb::arg("sums"), nb::arg("isa"), nb::arg("repeats"),
           "Seconds of each of so many multiplications in a row.");

  m.def("quantize_rows",
        [](Array<float, 2> x, const std::string& isa) {
          const KernelTable& kernels = kernels_named(isa);
          const size_t rows = x.shape(0), width = x.shape(1), blocks = width / kBlock;
          check(width % kBlock == 0, "width must be a multiple of 32");
          std::vector<int8_t> codes(rows * width);
          std::vector<float> scales(rows * blocks);
          std::vector<int32_t> sums(rows * blocks);
          for (size_t r = 0; r < rows; ++r)
            kernels.quantize_row(x.data() + r * width, static_cast<int>(width), codes.data() + r * width,
                                 scales.data() + r * blocks, sums.data() + r * blocks);
          return nb::make_tuple(owned(std::move(codes), {rows, width}), owned(std::move(scales), {rows, blocks}),
                                owned(std::move(sums), {rows, blocks}));
        },
        "8-bit codes[T, K], scales[T, K/32] and code sums[T, K/32] of rows.");

  m.def("read_bandwidth",
        [](size_t bytes, int num_threads, int repeats) {
          check(bytes >= 4096 && num_threads > 0 && repeats > 0, "bandwidth probe arguments out of range");
          const KernelTable& kernels = kernels_named("");
          Arena arena;
          char* data = static_cast<char*>(arena.take(bytes));
          for (size_t i = 0; i < bytes; i += 64) data[i] = static_cast<char>(i);
          ThreadTeam team(num_threads);
          std::vector<double> rates;
          std::vector<uint64_t> sums(num_threads);
          nb::gil_scoped_release release;
          for (int i = 0; i < repeats; ++i) {
            const auto start = std::chrono::steady_clock::now();
            team.run([&](int thread) {
              const size_t part = bytes / num_threads / 256 * 256;
              sums[thread] += kernels.read_bytes(data + thread * part, part);
            });
            rates.push_back(static_cast<double>(bytes) /
                            std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
          }
          return rates;
        },
        nb::arg("bytes"), nb::arg("num_threads"), nb::arg("repeats"),
        "Bytes per second of each sequential read of one buffer by all threads.");
}
