// Python bindings of the model. Arrays are checked here; the rest trusts its arguments.
#include "bindings.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

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

constexpr size_t kPlanNumbers = 26;

std::vector<RowPlan> checked_plans(Array<int32_t, 2> numbers) {
  check(numbers.shape(0) >= 1 && numbers.shape(0) <= 64 && numbers.shape(1) == kPlanNumbers,
        "schedule: expected 1 to 64 plans of 26 numbers");
  std::vector<RowPlan> plans(numbers.shape(0));
  int previous = 0;
  for (RowPlan& plan : plans) {
    const int32_t* p = numbers.data() + (&plan - plans.data()) * kPlanNumbers;
    check(p[0] > previous && p[5] >= 0 && p[5] <= 1 << 20 && p[5] % 2 == 0,
          "schedule: rows must ascend, panels of gate and up be even");
    previous = plan.rows = p[0];
    plan.one_thread = p[1] != 0, plan.norm_alone = p[2] != 0, plan.mlp_norm_alone = p[3] != 0;
    plan.whole_heads = p[4] != 0, plan.gate_panels = p[5];
    p += 6;
    for (GemmPlan* gemm : {&plan.qkv, &plan.o, &plan.gate_up, &plan.down, &plan.head})
      *gemm = checked_gemm(p[0] != 0, p[1], p[2], p[3] != 0), p += 4;
  }
  return plans;
}

void append_plan(const RowPlan& plan, std::vector<int32_t>& out) {
  for (int32_t value : {plan.rows, int32_t{plan.one_thread}, int32_t{plan.norm_alone}, int32_t{plan.mlp_norm_alone},
                        int32_t{plan.whole_heads}, plan.gate_panels})
    out.push_back(value);
  for (const GemmPlan* gemm : {&plan.qkv, &plan.o, &plan.gate_up, &plan.down, &plan.head})
    for (int32_t value : {int32_t{gemm->widen}, gemm->panels, gemm->ahead, int32_t{gemm->near}}) out.push_back(value);
}

}  // namespace

NB_MODULE(_core, m) {
  m.doc() = "adtrie native core: kernels, packed weights and the forward over a token tree";

  m.def("isa", [](const std::string& name) { return std::string(kernels_named(name).name); }, nb::arg("name") = "",
        "Name of the kernel table chosen for `name` ('' = best). Raises ValueError if it cannot run here.");

  m.def("isas",
        [] {
          std::vector<std::string> names;
          for (const KernelTable* table : available_kernels()) names.insert(names.begin(), table->name);
          return names;
        },
        "Names of the kernel tables that run here, scalar first and the best last.");

  m.def("return_free_memory",
        [] {
#if defined(__GLIBC__)
          malloc_trim(0);
#endif
        },
        "Gives freed heap memory back to the system, where the allocator keeps it.");

  nb::class_<Transformer>(m, "Model")
      .def(
          "__init__",
          [](Transformer* self, int num_layers, int hidden, int intermediate, int num_heads, int num_kv_heads,
             int head_size, int vocab, int max_positions, float rms_epsilon, const std::string& activations,
             const std::string& isa, int num_threads) {
            const Shape shape = {num_layers, hidden,        intermediate, num_heads,       num_kv_heads, head_size,
                                 vocab,      max_positions, rms_epsilon,  activations_named(activations)};
            check(num_layers > 0 && hidden > 0 && intermediate > 0 && num_heads > 0 && num_kv_heads > 0 &&
                      head_size > 0 && head_size % 2 == 0 && vocab > 0 && max_positions > 0 &&
                      num_heads % num_kv_heads == 0 && num_threads > 0 && num_threads <= 256,
                  "model shape out of range");
            new (self) Transformer(shape, kernels_named(isa), num_threads);
          },
          nb::kw_only(), nb::arg("num_layers"), nb::arg("hidden"), nb::arg("intermediate"), nb::arg("num_heads"),
          nb::arg("num_kv_heads"), nb::arg("head_size"), nb::arg("vocab"), nb::arg("max_positions"),
          nb::arg("rms_epsilon"), nb::arg("activations"), nb::arg("isa"), nb::arg("num_threads"))
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
      .def("set_frequent",
           [](Transformer& self, Array<int32_t, 1> tokens) {
             check(self.is_frequent.empty() && tokens.size() > 0, "frequent tokens are chosen once, at least one");
             check(!self.head.sparse, "frequent tokens need a head that is not sparse");
             std::vector<uint8_t> marks(self.shape().vocab, 0);
             int previous = -1;
             for (size_t i = 0; i < tokens.size(); ++i) {
               check(tokens.data()[i] > previous && tokens.data()[i] < self.shape().vocab,
                     "frequent tokens must be ascending tokens of the vocabulary");
               marks[previous = tokens.data()[i]] = 1;
             }
             self.frequent = pick_outputs(self.arena, self.head, tokens.data(), static_cast<int>(tokens.size()));
             self.is_frequent = std::move(marks);
           },
           "Tokens over which bounded sessions normalise, int32[F] ascending; copies their outputs of the head.")
      .def("with_threads",
           [](const Transformer& self, int num_threads) {
             check(num_threads > 0 && num_threads <= 256, "num_threads out of range");
             return std::make_unique<Transformer>(self, num_threads);
           },
           nb::keep_alive<0, 1>(), "The same weights, in place, with threads of its own.")
      .def_prop_ro("weight_bytes", [](const Transformer& self) { return self.arena.used() + self.borrowed_bytes; })
      .def("set_schedule", [](Transformer& self, Array<int32_t, 2> plans) { self.schedule.replace(checked_plans(plans)); },
           "int32[n, 26]: rows, one_thread, norm_alone, mlp_norm_alone, whole_heads, gate_panels, then widen, panels, "
           "ahead and near of qkv, o, gate_up, down and head; rows ascending.")
      .def_prop_ro("schedule",
                   [](Transformer& self) {
                     std::vector<int32_t> out;
                     for (const RowPlan& plan : self.schedule.plans()) append_plan(plan, out);
                     const size_t count = out.size() / kPlanNumbers;
                     return owned(std::move(out), {count, kPlanNumbers});
                   },
                   nb::rv_policy::move)
      .def_prop_ro("linear_bytes",
                   [](Transformer& self) {
                     size_t qkv = 0, o = 0, gate_up = 0, down = 0;
                     for (const Layer& l : self.layers) {
                       qkv += packed_bytes(l.q) + packed_bytes(l.k) + packed_bytes(l.v), o += packed_bytes(l.o);
                       gate_up += packed_bytes(l.gate) + packed_bytes(l.up), down += packed_bytes(l.down);
                     }
                     nb::dict out;
                     out["qkv"] = qkv, out["o"] = o, out["gate_up"] = gate_up, out["down"] = down;
                     out["head"] = packed_bytes(self.head);
                     return out;
                   },
                   "Bytes of the linears of all layers by stage, and of the head.")
      .def("profile", [](Transformer& self, bool on) { self.clock().reset(on); }, nb::arg("on"),
           "Counts the seconds of every stage from now on, or no longer.")
      .def("leave_at", [](Transformer& self, int layer) { self.team().leave_at(layer); }, nb::arg("layer"),
           "For tests: after that layer (from 0) of each forward one thread goes on alone; -1: never.")
      .def_prop_ro("stage_seconds",
                   [](Transformer& self) {
                     const StageClock& clock = self.clock();
                     nb::dict out;
                     for (int stage = 0; stage < kNumStages; ++stage) {
                       nb::list threads;
                       for (int t = 0; t < clock.num_threads(); ++t)
                         threads.append(nb::make_tuple(clock.work(t, stage), clock.wait(t, stage)));
                       out[kStageNames[stage]] = threads;
                     }
                     return out;
                   },
                   "By stage: (working, waiting) seconds of each thread.")
      .def_prop_ro("isa", [](const Transformer& self) { return std::string(self.kernels().name); })
      .def_prop_ro("num_threads", [](Transformer& self) { return self.team().size(); });

  bind_sessions(m);
  bind_linear(m);
}
