"""`adtrie explore`: a page on this machine that shows a search at work."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adtrie.cli.download import announce
from adtrie.cli.options import (
    AdapterOption,
    JsonOption,
    ModelOption,
    ThreadsOption,
    WeightsChoice,
    WeightsOption,
)
from adtrie.cli.target import as_json
from adtrie.cli.terminal import emit, emit_json, finite, guarded, note
from adtrie.errors import InputError

if TYPE_CHECKING:
    from adtrie.api import Model
    from adtrie.catalogue import Catalogue
    from adtrie.prompt import PromptTemplate

NAME = "explore"
EXAMPLE = "Example: adtrie explore -m smollm2-135m -c products.cat --port 8642"
Json = dict[str, Any]


@guarded
def command(
    model: ModelOption,
    catalogue: Annotated[Path, typer.Option("--catalogue", "-c", help="Snapshot made by 'adtrie index'.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page; 0: any free one.")] = 8642,
    prompt_template: Annotated[
        str | None, typer.Option(help="Text with one {query}, \\n for a line end, or @FILE.")
    ] = None,
    adapter: AdapterOption = None,
    weights: WeightsOption = WeightsChoice.auto,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Serve a page on this machine: type a query, watch the trie light up level by level.

    Only this machine can reach it and it loads nothing from elsewhere. POST /api/ask takes {"query", "k",
    "mode", "score", "width", "max_rows", "where", "why"} and gives the answer with its explanation. Ctrl-C
    ends it with exit code 0.
    """
    from adtrie.api import load_model
    from adtrie.catalogue import Catalogue
    from adtrie.explore import ExploreServer
    from adtrie.prompt import PromptTemplate
    from adtrie.request import TargetOptions

    template = PromptTemplate.parse(prompt_template) if prompt_template is not None else None
    opened = Catalogue.open(catalogue)
    announce(model)
    loaded = load_model(model, adapter=adapter, weights=weights.value, threads=threads)
    opened.check_tokenizer(loaded.tokenizer.fingerprint)
    about = {
        "model": loaded.name,
        "catalogue": str(catalogue),
        "entries": opened.num_entries,
        "options": [field.name for field in fields(TargetOptions)],
        "example": opened.text(0),
    }
    questions = Questions(loaded, opened, template)
    with ExploreServer(questions.ask, finite(about), port) as server:
        emit_json({"url": server.url}) if json else emit(f"{server.url}  (Ctrl-C ends it)")
        loaded.warm(template=template)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            note("closed")


class Questions:
    """Answers questions of the page about one catalogue."""

    def __init__(self, model: Model, catalogue: Catalogue, template: PromptTemplate | None) -> None:
        self._model, self._catalogue, self._template = model, catalogue, template

    def ask(self, question: Json) -> Json:
        """The answer with its explanation. Raises InputError for a question that is none."""
        from adtrie.explain import explain, why
        from adtrie.request import TargetOptions

        names = {field.name for field in fields(TargetOptions)}
        _check_names(question, names | {"query", "where", "why"})
        chosen = {name: value for name, value in question.items() if name in names}
        options = TargetOptions(**chosen)
        where, entry_id = _text(question, "where"), _text(question, "why")
        selection = self._catalogue.select(where) if where is not None else None
        query = question.get("query", "")
        said = explain(self._model, query, self._catalogue, options, self._template, selection=selection)
        answer = {**as_json(said.hits), "explanation": said.as_json()}
        if selection is not None:
            answer["eligible"] = len(selection)
        if entry_id is not None:
            filters = {"the filter": selection} if selection is not None else {}
            answer["why"] = why(said, entry_id, filters)
        return dict(finite(answer))


def _check_names(question: Json, known: set[str]) -> None:
    for name in question:
        if name not in known:
            alike = get_close_matches(name[:80], known, n=1, cutoff=0.0)
            raise InputError(f"unknown field {name[:80]!r}; the closest is {alike[0]!r}")


def _text(question: Json, name: str) -> str | None:
    """A text of the question; None where it is missing or blank."""
    value = question.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name}: expected a text, got {type(value).__name__}")
    return value if value and value.strip() else None
