"""The models that engines are compared on, in each engine's format, made once under build/bench.

SmolLM2-135M is real; 0.5b and 1.5b are the shapes of Qwen2.5 with random weights, which is enough for speed.
What is made from a model already quantized is quantized again. Knows no engine process and no clock.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue import Catalogue
from adtrie.compress.pack import nearest_linear
from adtrie.compress.plan import Choice
from adtrie.config import OUTER_LINEARS
from adtrie.format.codes import DENSE, PANEL_ROWS, num_panels
from adtrie.format.panels import PackedLinear, pack, stream_bytes
from adtrie.format.tensors import dense_values
from adtrie.models import open_checkpoint, packed_writer
from adtrie.models.alias import resolve_alias
from adtrie.train.full_model import write_model
from benchmarks.catalogue import MAX_TOKENS, STRINGS, read_strings
from benchmarks.machine import ROOT
from benchmarks.peers.setup import HERE, ensure_peer, peer_environment

FOLDER = ROOT / "build" / "bench" / "models"
REAL = "135m"
GROUP, EMBEDDING_GROUP = 64, 32
ALL_DENSE = (DENSE,)
MIXED = (2, 1, 1)
INT4 = ("--preset", "safe", "--budget", "4.45bpw", "--set", "embed=int4*")
MIX = ("--preset", "mix")  # the bytes of mix + INT4 in the paper's table


@dataclass(frozen=True)
class Shape:
    """A model by its size; `real` or with random weights."""

    name: str
    label: str
    real: bool
    num_parameters: int  # of what one forward reads, the tied head once
    decoded: int  # tokens of one sample of decode


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("135m", "SmolLM2-135M", True, 134_515_008, 48),
        Shape("0.5b", "Qwen2.5-0.5B shape, random weights", False, 494_032_768, 24),
        Shape("1.5b", "Qwen2.5-1.5B shape, random weights", False, 1_543_714_304, 12),
    )
}


def model_in(form: str, shape: str) -> Path:
    """The file or folder of `shape` in `form` (a key of FORMS), made now if it is not there.

    Raises RuntimeError with the last lines of a tool that failed; nothing half-made is left behind.
    """
    suffix = ".gguf" if form.startswith("gguf") else ""
    path = FOLDER / shape / (form.removeprefix("gguf-") + suffix)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"making-{path.name}")
        _remove(part)
        print(f"making {path}", file=sys.stderr)
        try:
            FORMS[form](shape, part)
        except BaseException:
            _remove(part)
            raise
        part.rename(path)
    return path


def plan_of(form: str, shape: str) -> None:
    """Finds how this machine runs the model fastest, where that is not known, as who deploys it would."""
    _adtrie("optimize", model_in(form, shape), "--cached")


def size_bytes(path: Path) -> int:
    """Bytes of a model file, or of all files of its folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _run(peer: str, script: str, *arguments: object) -> None:
    command = [str(ensure_peer(peer)), str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=peer_environment())
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).splitlines()[-6:])
        raise RuntimeError(f"{script} {arguments[0]} failed:\n{last}")


def _adtrie(*arguments: object) -> None:
    command = [sys.executable, "-m", "adtrie", *map(str, arguments)]
    code = subprocess.run(command, check=False, stdout=sys.stderr).returncode
    if code != 0:
        raise RuntimeError(f"adtrie {' '.join(command[3:])} ended with exit code {code}")


def _hugging_face(shape: str, out: Path) -> None:
    if shape == REAL:
        out.mkdir()
        with open_checkpoint("smollm2-135m") as checkpoint:
            write_model(out, checkpoint, {})
        return
    _run("export", "export.py", "random", model_in("hf", REAL), out, shape)
    Path(f"{out}.gguf").rename(FOLDER / shape / "f16.gguf")


def _quantized(kind: str) -> Callable[[str, Path], None]:
    def make(shape: str, out: Path) -> None:
        if shape == REAL:
            source = resolve_alias("smollm2-135m")
        else:
            model_in("hf", shape)
            source = FOLDER / shape / "f16.gguf"
        _run("llama_cpp", "quantize_gguf.py", source, out, kind)

    return make


def _exported(what: str) -> Callable[[str, Path], None]:
    return lambda shape, out: _run("export", "export.py", what, model_in("hf", shape), out)


def _packed(mlp: tuple[int, ...]) -> Callable[[str, Path], None]:
    """Random weights in INT4, blocks in groups of 64, embedding and head of 32.

    mlp: survivors of four of neighbouring panels of 16 rows, over and over.
    """

    def choose(name: str, size: tuple[int, int]) -> Choice:
        panels = num_panels(size[0])
        if name in OUTER_LINEARS:
            return Choice(name, 4, EMBEDDING_GROUP, ALL_DENSE * panels)
        kept = mlp if name.split(".")[-1] in ("gate", "up", "down") else ALL_DENSE
        return Choice(name, 4, GROUP, tuple(np.resize(kept, panels).tolist()))

    def make(shape: str, out: Path) -> None:
        with open_checkpoint(model_in("hf", shape)) as checkpoint, packed_writer(out, checkpoint) as writer:
            for name in checkpoint.names():
                if len(writer.shapes[name]) == 1:
                    writer.add_vector(name, checkpoint.vector(name))
                else:
                    weights = dense_values(checkpoint.matrix(name))
                    writer.add_linear(name, _repeated(weights, choose(name, weights.shape)))
            writer.finish()

    return make


def _repeated(weights: NDArray[np.float32], choice: Choice) -> PackedLinear:
    """A linear of the size of random `weights` whose first panels repeat: rounding all would take an hour."""
    period = min(len(MIXED), len(choice.kept))
    first = pack(nearest_linear(weights[: PANEL_ROWS * period], replace(choice, kept=choice.kept[:period])))
    kept = np.array(choice.kept, np.uint8)
    sizes = sum(stream_bytes(weights.shape[1], choice.bits, pattern) for pattern in choice.kept)
    scales = np.resize(first.scales, (len(kept), *first.scales.shape[1:]))
    return PackedLinear(
        *weights.shape, choice.bits, choice.group, kept, np.resize(first.stream, sizes), scales
    )


def _compressed(*options: str) -> Callable[[str, Path], None]:
    """SmolLM2 compressed by the users' command, on few tokens: it is for speed."""

    def make(shape: str, out: Path) -> None:
        if shape != REAL:
            raise RuntimeError(f"there is no compressed model of shape {shape}, only of {REAL}")
        _adtrie("compress", "smollm2-135m", out, "--tokens", "4096", *options)

    return make


def _by_shape(
    real: Callable[[str, Path], None], other: Callable[[str, Path], None]
) -> Callable[[str, Path], None]:
    return lambda shape, out: (real if shape == REAL else other)(shape, out)


def scale_catalogue() -> Path:
    """The catalogue of 1.7 million real strings, built once. Raises RuntimeError without the shared data."""
    path = FOLDER / "scale.cat"
    if not path.exists():
        strings = Path(os.environ.get("ADTRIE_STRINGS", STRINGS))
        if not strings.exists():
            raise RuntimeError(f"{strings} is missing: the large catalogue needs the shared data")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_checkpoint("smollm2-135m") as checkpoint:
            built = Catalogue.build(read_strings(strings), checkpoint.tokenizer, max_tokens=MAX_TOKENS)
        built.save(path)
    return path


FORMS: Mapping[str, Callable[[str, Path], None]] = {
    "hf": _hugging_face,
    "gguf-q4_0": _quantized("q4_0"),
    "gguf-q8_0": _quantized("q8_0"),
    "onnx-int4": _exported("onnx"),
    "ctranslate2-int8": _exported("ctranslate2"),
    "adtrie-int4": _by_shape(_compressed(*INT4), _packed(ALL_DENSE)),
    "adtrie-mixed": _by_shape(_compressed(*MIX), _packed(MIXED)),
    "tuned-int4": _compressed("--adapter", "pricerunner", *INT4),
    "tuned-mixed": _compressed("--adapter", "pricerunner", *MIX),
}
