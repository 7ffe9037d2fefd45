"""`adtrie verify`: whether a packed checkpoint is whole and sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adtrie.cli.options import JsonOption
from adtrie.cli.terminal import Advance, ExitCode, emit, emit_json, guarded, progress, warn

NAME = "verify"
EXAMPLE = "Example: adtrie verify smollm2-packed"


@guarded
def command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A packed checkpoint.")],
    json: JsonOption = False,
) -> None:
    """Read all of a packed checkpoint and check it; exit code 1 names every damaged file and tensor."""
    from adtrie.errors import InputError
    from adtrie.format.reader import is_packed

    if not is_packed(folder):
        raise InputError(
            f"{folder}: is no packed checkpoint (no manifest.json); 'adtrie inspect --verify' checks other "
            "models and catalogues"
        )
    with progress("verify") as advance:
        damage = damage_of(folder, advance)
    if json:
        emit_json({"folder": str(folder), "sound": not damage, "damage": damage})
    elif not damage:
        emit(f"{folder}: sound")
    else:
        for line in damage:
            warn(line)
    if damage:
        raise typer.Exit(ExitCode.ERROR)


def damage_of(folder: Path, advance: Advance) -> list[str]:
    """One line for everything wrong with a packed checkpoint; empty when it is sound."""
    from adtrie.errors import AdtrieError
    from adtrie.format.verify import find_damage
    from adtrie.models import open_checkpoint

    damage = find_damage(folder, advance)
    if not damage:
        try:
            open_checkpoint(folder).close()  # spec, the set of tensors and tokenizer
        except AdtrieError as error:
            return [str(error)]
    return damage
