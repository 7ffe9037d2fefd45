"""The command line on a packed checkpoint: every command takes it, inspect counts it, verify finds damage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_model import TEMPLATE, Run

from adtrie.compress.pack import pack_nearest
from adtrie.compress.plan import Choice
from adtrie.format.codes import DENSE, num_panels
from adtrie.models import open_checkpoint


def choose(name: str, shape: tuple[int, int]) -> Choice:
    """8 bits for embedding and head, 1:4 for down (64 inputs), 2:4 for gate, elsewhere dense."""
    kept = {"down": 1, "gate": 2}.get(name.rsplit(".", 1)[-1], DENSE)
    bits = 8 if name in ("embed", "head") else 4
    return Choice(name, bits, shape[1], (kept,) * num_panels(shape[0]))


@pytest.fixture(scope="module")
def packed(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden model as a packed checkpoint."""
    out = tmp_path_factory.mktemp("packed") / "out"
    with open_checkpoint(model_folder) as source:
        pack_nearest(source, out, choose, summary={"budget": "4 bits"})
    return out


def test_target_and_create(packed: Path, catalogue_file: Path, run: Run) -> None:
    options = ("--model", packed, "--json")
    target = ("target", *options, "--prompt-template", TEMPLATE, "--catalogue", catalogue_file, "red shoe")
    result = run(*target)
    assert result.exit_code == 0, result.stderr
    assert len(json.loads(result.stdout)["results"]) == 6
    create = ("create", *options, "--template", TEMPLATE, "--max-tokens", 4, "red")
    assert run(*create).exit_code == 0
    refused = run(*create, "--adapter", "e2e")
    assert refused.exit_code == 1 and "takes no adapter" in refused.stderr


def test_inspect_counts_the_bytes_of_the_file(packed: Path, run: Run) -> None:
    facts = json.loads(run("inspect", packed, "--verify", "--json").stdout)
    assert facts["kind"] == "packed model" and facts["summary"] == {"budget": "4 bits"}
    bits = {name: size["stream_bits"] for name, size in facts["patterns"].items()}
    assert bits == {"int8 dense": 8.0, "int4 dense": 4.0, "int4 2:4": 3.0, "int4 1:4": 1.5}
    assert facts["patterns"]["int4 1:4"]["scale_bits"] == 16 / 64
    assert facts["file_bytes"] == sum(
        (packed / name).stat().st_size for name in ("model.safetensors", "tokenizer.json")
    )
    linears = {each["name"]: each for each in facts["linears"]}
    assert len(linears) == 2 * 7 + 2
    assert linears["layers.1.down"]["panels_by_pattern"] == {"1:4": 2}
    assert sum(each["bytes"] for each in linears.values()) == facts["all linears"]["bytes"]
    assert facts["bytes"] == facts["all linears"]["bytes"] + facts["vector_bytes"]


def test_inspect_prints_a_table(packed: Path, run: Run) -> None:
    lines = run("inspect", packed).stdout.splitlines()
    row = next(line for line in lines if line.startswith("layers.0.gate"))
    assert row.split() == [
        "layers.0.gate",
        "64",
        "x",
        "32",
        "int4",
        "g32",
        "4",
        "2:4",
        "896",
        "3.000",
        "0.500",
    ]


def test_verify(packed: Path, run: Run, tmp_path: Path, model_folder: Path) -> None:
    assert run("verify", packed).stdout == f"{packed}: sound\n"
    with open_checkpoint(model_folder) as source:
        pack_nearest(source, tmp_path / "out", choose)
    path = tmp_path / "out" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    result = run("verify", tmp_path / "out")
    assert result.exit_code == 1 and str(path) in result.stderr and result.stdout == ""
    facts = json.loads(run("verify", tmp_path / "out", "--json").stdout)
    assert facts["sound"] is False and len(facts["damage"]) == 1
    refused = run("verify", model_folder)
    assert refused.exit_code == 1 and "inspect --verify" in refused.stderr
