"""`adtrie inspect`: what a model or a catalogue snapshot holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from adtrie.cli.download import announce
from adtrie.cli.options import JsonOption
from adtrie.cli.terminal import emit, emit_json, guarded, printable

NAME = "inspect"
EXAMPLE = "Example: adtrie inspect products.cat --verify"


@guarded
def command(
    source: Annotated[
        str, typer.Argument(metavar="FILE_OR_ALIAS", help="Catalogue snapshot, model or alias.")
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Also read all of it and check every sum.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Print the shape, types, sizes and fingerprint of a model or a catalogue."""
    from adtrie.catalogue.snapshot import is_snapshot
    from adtrie.cli.packed_tables import linear_table
    from adtrie.live.folder import is_live

    path = Path(source)
    if is_snapshot(path):
        findings = examine_catalogue(path, verify)
    else:
        findings = examine_live(path) if is_live(path) else examine_model(source, verify)
    if json:
        emit_json(findings)
        return
    for name, value in findings.items():
        for line in linear_table(value) if isinstance(value, list) else _shown(name, value):
            emit(printable(line))


def examine_catalogue(path: Path, verify: bool) -> dict[str, object]:
    """Facts of a snapshot; with `verify` every section's sum is checked (FormatError)."""
    from adtrie.catalogue import Catalogue

    catalogue = Catalogue.open(path)
    if verify:
        catalogue.verify()
    return {
        "kind": "catalogue",
        "file": str(path),
        "bytes": path.stat().st_size,
        "trie_bytes": catalogue.trie_bytes,
        "text_bytes": catalogue.text_bytes,
        **asdict(catalogue.info),
        "verified": verify,
    }


def examine_live(path: Path) -> dict[str, object]:
    """Facts of the newest version of a live catalogue; all of its logs are checked."""
    from adtrie.live import LiveCatalogue

    live = LiveCatalogue.open(path, write=False)
    version = live.snapshot()
    return {
        "kind": "live catalogue",
        "folder": str(path),
        "version": version.number,
        "oldest_version": live.oldest,
        "base": version.state.base_number,
        "entries": version.num_live,
        "added_rows": version.state.num_added,
        "pauses": list(version.pauses),
        **{name: value for name, value in asdict(version.info).items() if not name.startswith("num_")},
    }


def examine_model(source: str, verify: bool) -> dict[str, object]:
    """Facts of a checkpoint; with `verify` every tensor is read (FormatError names a damaged one)."""
    from adtrie.cli.packed_tables import packed_facts
    from adtrie.models import open_checkpoint

    announce(source)
    with open_checkpoint(source) as checkpoint:
        tensors = checkpoint.tensors()
        if verify:
            for tensor in tensors:
                read = checkpoint.vector if len(tensor.shape) == 1 else checkpoint.matrix
                read(tensor.name)
        packed = {} if checkpoint.manifest is None else packed_facts(Path(source))
        return {
            "kind": "packed model" if packed else "model",
            "source": source,
            "fingerprint": checkpoint.fingerprint,
            "tokenizer": checkpoint.tokenizer.fingerprint,
            "spec": asdict(checkpoint.spec),
            "tensors": len(tensors),
            "parameters": sum(tensor.num_values for tensor in tensors),
            "types": dict(Counter(tensor.type for tensor in tensors)),
            "bytes": sum(tensor.num_bytes for tensor in tensors),
            "verified": verify,
            **packed,
        }


def _shown(name: str, value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{name}:", *(f"  {key:20} {item}" for key, item in value.items())]
    return [f"{name:22} {value!r}" if name in ("prefix", "end", "template") else f"{name:22} {value}"]
