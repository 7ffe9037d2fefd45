// Python bindings of single linears, for tests and kernel benchmarks, and the checks of their arrays.
#include <nanobind/stl/unique_ptr.h>

#include <algorithm>
#include <chrono>

#include "bindings.h"
#include "linear.h"
#include "parallel.h"

namespace adtrie {
namespace {

constexpr int kMostRows = 1 << 26;  // outputs or inputs of a linear: far above any, far below overflow

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

// Threads that have just begun often share the processor of who began them, for some 15 ms: what is measured of them
// waits until they have been moved apart.
void spread(ThreadTeam& team, const KernelTable& kernels) {
  constexpr std::chrono::milliseconds kLongEnough{50};
  constexpr int64_t kRounds = 50'000;
  std::vector<uint64_t> sums(team.size());
  const auto start = std::chrono::steady_clock::now();
  while (team.size() > 1 && std::chrono::steady_clock::now() - start < kLongEnough)
    team.run([&](int thread) { sums[thread] += kernels.multiply_bytes(kRounds); });
}

// out[T, padded N] = W x, `repeats` times; seconds of each, without what prepares the activations.
std::vector<double> multiply_float(const Panels& w, Array<float, 2> x, const std::string& isa,
                                   const std::string& activations, int repeats, std::vector<float>& out) {
  const KernelTable& kernels = kernels_named(isa);
  const Activations form = activations_named(activations);
  const int rows = static_cast<int>(x.shape(0)), width = w.num_inputs;
  check(static_cast<int>(x.shape(1)) == width, "x: wrong width");
  check(form == Activations::kF32 || (form == Activations::kBF16 && taken(w, form) == form),
        "activations: float32 expected, or bfloat16 for a linear in bfloat16");
  PreparedRows prepared;
  prepared.resize(kernels, form, rows, width, false);
  for (int r = 0; r < rows; ++r)
    prepared.prepare(kernels, form, r, x.data() + static_cast<int64_t>(r) * width, width, false);
  out.resize(rows * padded_outputs(w));
  return seconds_of_each(repeats, [&] {
    multiply(kernels, w, 0, w.num_panels, {x.data(), width, &prepared}, form, 0, rows, out.data(), padded_outputs(w),
             false, {});
  });
}

struct Int8Arrays {
  Array<int8_t, 2> codes;
  Array<float, 2> scales;
  Array<int32_t, 2> sums;
};

std::vector<double> multiply_int8(const Panels& w, const Int8Arrays& x, const std::string& isa, int repeats,
                                  std::vector<float>& out, const GemmPlan& plan = {}) {
  const KernelTable& kernels = kernels_named(isa);
  const size_t blocks = w.num_inputs / kBlock, rows = x.codes.shape(0);
  check(w.group > 0, "a float linear takes float activations");
  check(w.group % kBlock == 0, "groups that are no multiple of 32 take float activations");
  check(static_cast<int>(x.codes.shape(1)) == w.num_inputs && x.scales.shape(0) == rows &&
            x.scales.shape(1) == blocks && x.sums.shape(0) == rows && x.sums.shape(1) == blocks,
        "activations: wrong shape");
  out.resize(rows * padded_outputs(w));
  Lines<uint8_t> gather(w.sparse ? rows * w.num_inputs * 2 + kGatherSlack : 0);
  for (size_t r = 0; w.sparse && r < rows; ++r) {
    uint8_t* plain = gather.data() + r * w.num_inputs * 2;
    kernels.gather_row(x.codes.data() + r * w.num_inputs, w.num_inputs, plain, plain + w.num_inputs);
  }
  const Int8Rows input = {x.codes.data(), x.scales.data(), x.sums.data(), w.num_inputs, gather.data()};
  return seconds_of_each(repeats, [&] {
    kernels.gemm_q_i8(w, 0, w.num_panels, input, static_cast<int>(rows), out.data(), padded_outputs(w), false,
                      plan, {});
  });
}

// One packed linear on its own.
struct Linear {
  Arena arena;
  std::vector<std::shared_ptr<const void>> borrowed;
  Panels panels;
};

}  // namespace

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

GemmPlan checked_gemm(bool widen, int panels, int ahead, bool near) {
  check(panels >= 1 && panels <= 1024 && ahead >= 0 && ahead <= 64, "plan of a linear out of range");
  return {widen, panels, ahead, near};
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

void bind_linear(nb::module_& m) {
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
           [](const Linear& self, Array<float, 2> x, const std::string& isa, const std::string& activations) {
             std::vector<float> out;
             multiply_float(self.panels, x, isa, activations, 1, out);
             return owned(std::move(out), {x.shape(0), padded_outputs(self.panels)});
           },
           nb::arg("x"), nb::arg("isa"), nb::arg("activations") = "float32",
           "y float32[T, padded N] by float activations, or by those rounded to bfloat16.")
      .def("multiply_int8",
           [](const Linear& self, Array<int8_t, 2> codes, Array<float, 2> scales, Array<int32_t, 2> sums,
              const std::string& isa, bool widen, int panels, int ahead, bool near) {
             std::vector<float> out;
             multiply_int8(self.panels, {codes, scales, sums}, isa, 1, out, checked_gemm(widen, panels, ahead, near));
             return owned(std::move(out), {codes.shape(0), padded_outputs(self.panels)});
           },
           nb::arg("codes"), nb::arg("scales"), nb::arg("sums"), nb::arg("isa"), nb::arg("widen") = false,
           nb::arg("panels") = 6, nb::arg("ahead") = 1, nb::arg("near") = false,
           "y float32[T, padded N] by 8-bit activations: codes[T, K], scales[T, K/32], sums[T, K/32].")
      .def("time_float",
           [](const Linear& self, Array<float, 2> x, const std::string& isa, int repeats,
              const std::string& activations) {
             std::vector<float> out;
             return multiply_float(self.panels, x, isa, activations, repeats, out);
           },
           nb::arg("x"), nb::arg("isa"), nb::arg("repeats"), nb::arg("activations") = "float32",
           "Seconds of each of so many multiplications in a row.")
      .def("time_int8",
           [](const Linear& self, Array<int8_t, 2> codes, Array<float, 2> scales, Array<int32_t, 2> sums,
              const std::string& isa, int repeats, bool widen, int panels, int ahead, bool near) {
             std::vector<float> out;
             return multiply_int8(self.panels, {codes, scales, sums}, isa, repeats, out,
                                  checked_gemm(widen, panels, ahead, near));
           },
           nb::arg("codes"), nb::arg("scales"), nb::arg("sums"), nb::arg("isa"), nb::arg("repeats"),
           nb::arg("widen") = false, nb::arg("panels") = 6, nb::arg("ahead") = 1, nb::arg("near") = false,
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
          spread(team, kernels);
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

  m.def("barrier_seconds",
        [](int num_threads) {
          check(num_threads > 0 && num_threads <= 256, "barrier probe arguments out of range");
          constexpr int kMeetings = 200;
          ThreadTeam team(num_threads);
          nb::gil_scoped_release release;
          spread(team, kernels_named(""));
          const std::vector<double> seconds = seconds_of_each(20, [&] {
            team.run([&](int) {
              for (int i = 0; i < kMeetings; ++i) team.barrier();
            });
          });
          return *std::min_element(seconds.begin(), seconds.end()) / kMeetings;
        },
        nb::arg("num_threads"), "Least seconds of one meeting of all threads.");

  m.def("int8_peak",
        [](int num_threads, int repeats) {
          check(num_threads > 0 && num_threads <= 256 && repeats > 0, "peak probe arguments out of range");
          constexpr int64_t kRounds = 200'000;
          const KernelTable& kernels = kernels_named("");
          ThreadTeam team(num_threads);
          std::vector<uint64_t> sums(num_threads);
          nb::gil_scoped_release release;
          spread(team, kernels);
          std::vector<double> rates = seconds_of_each(repeats, [&] {
            team.run([&](int thread) { sums[thread] += kernels.multiply_bytes(kRounds); });
          });
          for (double& rate : rates) rate = static_cast<double>(kRounds * kPeakRound) * num_threads / rate;
          return rates;
        },
        nb::arg("num_threads"), nb::arg("repeats"),
        "Multiplications and additions of bytes per second of all threads, each of several tries.");
}

}  // namespace adtrie
