// Python bindings of the model. Arrays are checked here; the rest trusts its arguments.
#include "bindings.h"

#include <algorithm>

#include "transformer.h"

using namespace adtrie;

namespace {

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
      .def("with_threads",
           [](const Transformer& self, int num_threads) {
             check(num_threads > 0 && num_threads <= 256, "num_threads out of range");
             return std::make_unique<Transformer>(self, num_threads);
           },
           nb::keep_alive<0, 1>(), "The same weights, in place, with threads of its own.")
      .def_prop_ro("weight_bytes", [](const Transformer& self) { return self.arena.used() + self.borrowed_bytes; })
      .def_prop_ro("isa", [](const Transformer& self) { return std::string(self.kernels().name); })
      .def_prop_ro("num_threads", [](Transformer& self) { return self.team().size(); });

  bind_sessions(m);
  bind_linear(m);
}
