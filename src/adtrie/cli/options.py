"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class ModeChoice(StrEnum):
    """How the catalogue is searched."""

    exact = "exact"
    verify = "verify"
    stepwise = "stepwise"


class ScoreChoice(StrEnum):
    """How tokens are scored."""

    raw = "raw"
    renormalised = "renormalised"


class NormaliserChoice(StrEnum):
    """What exact normalises rows over."""

    full = "full"
    bounded = "bounded"


class PreferChoice(StrEnum):
    """What exact saves."""

    auto = "auto"
    rows = "rows"
    forwards = "forwards"


class WeightsChoice(StrEnum):
    """The form the engine holds weights in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    int8 = "int8"
    int4 = "int4"


ModelOption = Annotated[
    str,
    typer.Option("--model", "-m", help="Alias (smollm2-135m), packed or Hugging Face folder, or .gguf file."),
]
AdapterOption = Annotated[
    str | None, typer.Option("--adapter", "-a", help="A shipped adapter by its name, or the folder of one.")
]
BeamsOption = Annotated[
    int | None, typer.Option("--beams", min=1, help="Beam width; above 1 nothing is drawn or guessed.")
]
LengthPenaltyOption = Annotated[
    float | None,
    typer.Option("--length-penalty", help="Of a beam's texts the best sum / tokens ** this; default: 1."),
]
FactWeightOption = Annotated[
    float | None,
    typer.Option("--fact-weight", help="Added to that for each fact that a text states; default: 0."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable: JSON on standard output.")]
WeightsOption = Annotated[
    WeightsChoice, typer.Option("--weights", help="auto: the file's own types, floats as int8.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, max=256, help="Threads of the engine; default: the cores, or ADTRIE_THREADS."
    ),
]
