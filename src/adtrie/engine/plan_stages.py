"""The stages of a transformer's forward on this engine's CPU backend, and their options as a flat schedule.

Knows shapes and what the native core can be told; knows no timing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adtrie.config import ModelSpec
from adtrie.engine.plan import Choice, Option, Stage

GEMMS = ("qkv", "o", "gate_up", "down", "head")
ROW_PLAN_NUMBERS = 6 + 4 * len(GEMMS)
PANEL, BLOCK = 16, 32
REVISION = 4  # of kernels and options: an older plan would still hold, but no longer be the best
_TILE_PANELS, _AHEAD, _CHUNKS = (2, 6, 12), (0, 1, 2), (4, 8, 12, 24)
_CACHES = {0: "", 1: " into the first cache"}  # that weights are fetched to; else the second
_ONE_STREAM = 1  # panel at a time: some processors fetch a single stream ahead better than we could
_WIDENED = 2 * 512 * PANEL  # bytes of a piece of widened codes
MET = "met"  # all threads have ended what comes before
FEW = 4  # rows up to which widening codes cannot pay
STREAMED = 16  # rows up to which reading the weights is a large part


@dataclass(frozen=True)
class Sizes:
    """Bytes of the linears of one forward by stage, and what the machine's threads share."""

    linear_bytes: Mapping[str, float]
    context: int
    threads: int


def gemm_options(rows: int, width: int, quick: bool, needs: str = MET) -> tuple[Option, ...]:
    """Ways to multiply a quantized linear with `rows` rows of `width` inputs, the likeliest first."""
    tiles = _TILE_PANELS[1:2] if quick else _TILE_PANELS
    if rows <= STREAMED:
        tiles = (*tiles, _ONE_STREAM)
    ahead: tuple[int, ...] = _AHEAD[:2] if quick else _AHEAD
    if 1 < rows <= STREAMED:  # not to fetch is to leave the next linear's first weights to its cost
        ahead = ahead[1:]
    options = [
        Option(
            f"tiles of {panels} panels, fetched {distance} ahead{cache}",
            {"widen": 0, "panels": panels, "ahead": distance, "near": near},
            panels * width * PANEL // 2,
            needs,
            "panels",
        )
        for panels in tiles
        for distance in ahead
        for near, cache in _CACHES.items()
        if not near or (distance == 1 and rows <= STREAMED and panels != _ONE_STREAM)
    ]
    if rows > FEW:
        options += [
            Option(
                f"widened codes, fetched {distance} ahead",
                {"widen": 1, "panels": 6, "ahead": distance, "near": 0},
                _WIDENED + rows * 512,
                needs,
                "panels",
            )
            for distance in ahead
            if distance < 2  # here it is fetched or not
        ]
    return tuple(sorted(options, key=lambda o: (o.settings["ahead"] != 1, o.settings["panels"] != 6)))


def _gate_options(rows: int, width: int, all_panels: int, quick: bool) -> tuple[Option, ...]:
    """Gate and up: every product with one size of chunks, every size of chunks with one product."""
    products = gemm_options(rows, width, quick, "all")
    usual = 0 if rows <= 16 else 12
    chunks = (usual,) if quick else (usual, *(c for c in (0, *_CHUNKS) if c != usual))
    pairs = [(o, usual) for o in products] + [(products[0], c) for c in chunks[1:]]
    return tuple(
        replace(
            o,
            name=f"{o.name}, {f'{chunk} panels' if chunk else 'all'} at a time",
            settings={**o.settings, "gate_panels": chunk},
            working_set=max(o.working_set, rows * (chunk or all_panels) * PANEL * 8),
        )
        for o, chunk in pairs
    )


def stages_of(spec: ModelSpec, rows: int, sizes: Sizes, quick: bool = False) -> tuple[Stage, ...]:
    """The dependency graph of one layer, times all layers, and the head, for a forward of `rows` rows."""
    hidden, inner, layers = spec.hidden_size, spec.intermediate_size, spec.num_layers
    heads, kv_heads = spec.num_heads * spec.head_size, spec.num_kv_heads * spec.head_size
    read, path = sizes.linear_bytes, sizes.context + rows / 2

    def macs(outputs: int, inputs: int) -> float:
        return 2.0 * rows * outputs * inputs * layers

    alone = Option("each thread for itself", {"alone": 1}, 0, MET, "all")
    shared = Option("shared out", {"alone": 0}, 0, MET, "rows")
    norms = (alone, shared) if rows <= 16 and sizes.threads > 1 else (shared,) if rows > 16 else (alone,)
    whole = Option("as multiplied", {"whole_heads": 1}, 0, "heads", "placed")
    apart = Option("by rows", {"whole_heads": 0}, 0, MET, "placed")
    divides = spec.head_size % PANEL == 0 and spec.num_heads + 2 * spec.num_kv_heads >= 2 * sizes.threads
    placed = (whole, apart) if divides and not quick else (whole,) if divides else (apart,)
    qkv = tuple(
        replace(o, gives=gives, name=f"{o.name}, {'whole heads' if gives == 'heads' else 'panels'}")
        for o in gemm_options(rows, hidden, quick, "all")
        for gives in (("heads", "panels") if len(placed) > 1 else ("heads",) if divides else ("panels",))
    )
    gate_up = _gate_options(rows, hidden, inner // PANEL // sizes.threads, quick)
    # Attention computes in float32, of which a vector holds a quarter as many as bytes.
    attended = 4 * 4.0 * rows * heads * path * layers
    return (
        Stage("norm", 0.0, 0.0, norms),
        Stage("qkv", read["qkv"], macs(heads + 2 * kv_heads, hidden), qkv, ("norm",)),
        Stage("place", 0.0, 0.0, placed, ("qkv",)),
        Stage(
            "attend",
            8.0 * kv_heads * path * layers,
            attended,
            (Option("tiles of queries", {}, 0, MET, "heads"),),
            ("place",),
        ),
        Stage("o", read["o"], macs(hidden, heads), gemm_options(rows, heads, quick), ("attend",)),
        Stage("mlp_norm", 0.0, 0.0, norms, ("o",)),
        Stage("gate_up", read["gate_up"], macs(2 * inner, hidden), gate_up, ("mlp_norm",)),
        Stage("down", read["down"], macs(hidden, inner), gemm_options(rows, inner, quick), ("gate_up",)),
        Stage(
            "head",
            read["head"],
            2.0 * rows * hidden * spec.vocab_size,
            gemm_options(rows, hidden, quick),
            ("down",),
        ),
    )


def row_plan(rows: int, settings: Mapping[str, Mapping[str, int]], one_thread: bool = False) -> list[int]:
    """The numbers that the native core takes for passes of up to `rows` rows; settings by stage."""
    numbers = [
        rows,
        int(one_thread),
        settings["norm"]["alone"],
        settings["mlp_norm"]["alone"],
        settings["place"]["whole_heads"],
        settings["gate_up"]["gate_panels"],
    ]
    for name in GEMMS:
        gemm = settings[name]
        numbers += [gemm["widen"], gemm["panels"], gemm["ahead"], gemm["near"]]
    return numbers


def settings_of(choices: Sequence[Choice]) -> dict[str, Mapping[str, int]]:
    """Settings by stage of a found path."""
    return {choice.stage.name: choice.option.settings for choice in choices}


def schedule_array(plans: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    """int32[n, 26] for the native core."""
    return np.ascontiguousarray(plans, dtype=np.int32)
