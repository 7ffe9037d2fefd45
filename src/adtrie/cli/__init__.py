"""The command line: one module per command, each body short; the work is in the library.

Modules are imported with the command line, their heavy parts only when a command runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from adtrie import __version__
from adtrie.cli import (
    change,
    compress,
    create,
    demo,
    doctor,
    evaluate,
    explore,
    index,
    inspect,
    optimize,
    recover,
    target,
    tune,
    verify,
)
from adtrie.cli.terminal import emit, use_utf8

EPILOG = (
    "Exit codes: 0 done; 1 a bad file, model, catalogue or query (one line on stderr says which); "
    "2 wrong usage; 130 interrupted; 141 the reader of our output closed it."
)

app = typer.Typer(
    name="adtrie",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text wraps to any width and reads well in a log
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        emit(f"adtrie {__version__}")
        raise typer.Exit()


@app.callback()
def adtrie(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A language model that answers only from your catalogue, ranked and exact, in milliseconds."""


for module in (
    demo,
    index,
    change,
    target,
    explore,
    create,
    tune,
    compress,
    recover,
    evaluate,
    optimize,
    inspect,
    verify,
    doctor,
):
    app.command(name=module.NAME, epilog=module.EXAMPLE)(module.command)


def main() -> None:
    """Runs the command line of this process and exits with a documented code."""
    use_utf8()
    app(prog_name="adtrie")
