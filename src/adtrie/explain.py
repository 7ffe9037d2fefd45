"""Why an answer is what it is: the recorded search as a tree of texts, its mass, its time, one entry's fate.

Makes JSON values; knows no terminal and no page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from adtrie.api import Model
from adtrie.catalogue import Bonus, Catalogue, Neighbours, Selection
from adtrie.config import RowCost
from adtrie.lookup import Lookup, Run
from adtrie.models import Tokenizer
from adtrie.prompt import PromptTemplate
from adtrie.request import Hits, TargetOptions
from adtrie.search.deadline import Deadline
from adtrie.search.fates import Fate, Fates, fates_of_beam, fates_of_exact, levels_of
from adtrie.search.recording import ROOT, Explored, Recorder
from adtrie.search.scorer import Scorer, SearchResult

MAX_NODES = 400  # of the tree as JSON, the likeliest; the answers and their paths are always in it
Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Explanation:
    """One answered query and all its search saw; `explored`, `fates`: None where nothing was searched."""

    hits: Hits
    options: TargetOptions
    catalogue: Catalogue
    tokenizer: Tokenizer
    recorder: Recorder | None
    explored: Explored | None
    fates: Fates | None

    def as_json(self, max_nodes: int = MAX_NODES) -> Json:
        """forwards, time, levels and tree; probabilities are of the whole model distribution."""
        forwards = self.recorder.forwards if self.recorder is not None else []
        model_ms = sum(forward.ms for forward in forwards)
        return {
            "query": self.hits.query,
            "mode": self.options.mode,
            "k": self.options.k,
            "gap": self.hits.gap,
            "rows": self.hits.rows,
            "forwards": [
                {
                    "rows": forward.tokens.size,
                    "scores": forward.scores.size,
                    "started_ms": round(forward.started_ms, 3),
                    "ms": round(forward.ms, 3),
                }
                for forward in forwards
            ],
            "time": {
                "total_ms": round(self.hits.ms, 3),
                "model_ms": round(model_ms, 3),
                "search_ms": round(max(self.hits.ms - model_ms, 0.0), 3),
            },
            "levels": [] if self.explored is None else [asdict(level) for level in levels_of(self.explored)],
            "tree": None if self.explored is None else _Tree(self, max_nodes).node(ROOT),
        }

    def token_text(self, token: int) -> str:
        """The text of a token; <id> for one it does not know, as of codes; the root has none."""
        if token < 0:
            return ""
        return self.tokenizer.decode([token]) if token < self.tokenizer.vocab_size else f"<{token}>"


def explain(
    model: Model,
    query: str,
    catalogue: Catalogue,
    options: TargetOptions,
    template: PromptTemplate | None = None,
    prior: Bonus | None = None,
    selection: Selection | None = None,
    seeds: Neighbours | ArrayLike | None = None,
) -> Explanation:
    """The answer of `model.answer`, and how it came about. Raises what `answer` raises."""
    searched: list[tuple[Lookup, Recorder]] = []

    def observe(lookup: Lookup) -> Run:
        def run(
            scorer: Scorer, prompt: Any, cost: Callable[[], RowCost], deadline: Deadline | None
        ) -> SearchResult:
            searched.append((lookup, Recorder(scorer)))
            return lookup.run(searched[0][1], prompt, cost, deadline)

        return run

    hits = model.answer(query, catalogue, options, template, prior, selection, seeds, observe)
    if not searched or not searched[0][1].forwards:
        return Explanation(hits, options, catalogue, model.tokenizer, None, None, None)
    lookup, recorder = searched[0]
    explored = Explored.of(recorder, lookup.trie)
    if options.mode == "exact":
        fates = fates_of_exact(explored, lookup.k, lookup.bonus, lookup.caps)
    else:
        fates = fates_of_beam(explored, lookup.k, options.beam_width, lookup.bonus, lookup.seeds)
    return Explanation(hits, options, catalogue, model.tokenizer, recorder, explored, fates)


def why(
    explanation: Explanation, entry_id: str, filters: Mapping[str, Selection] | None = None
) -> list[Json]:
    """What became of each entry (5 at most) with a row of that id, or the one reason why there is none.

    `filters`: what each part of the request's selection leaves on its own, by its name.
    """
    catalogue = explanation.catalogue
    found = catalogue.select(allow_ids=[entry_id])
    if not len(found):
        refused = catalogue.info.num_refused
        hint = f"; {refused:,} rows were refused when it was indexed (`adtrie index --json` lists them)"
        return [_said(entry_id, "unknown", "no row of the catalogue has this id" + (hint if refused else ""))]
    said: list[Json] = []
    for entry in found.entries.members()[:5].tolist():
        names = [name for name, kept in (filters or {}).items() if not len(kept.rows & found.rows)]
        if names:
            verdict = _said(entry_id, "filtered", f"no row with this id passes {' and '.join(names)}")
        elif filters and not all(kept.entries.contains(entry) for kept in filters.values()):
            verdict = _said(entry_id, "filtered", f"excluded by {' and '.join(filters)}")
        else:
            verdict = _fate_of(explanation, entry_id, entry)
        others = [name for name in catalogue.ids(entry) if name != entry_id]
        verdict |= {
            "text": catalogue.text(entry),
            "shares_tokens_with": others[:20],
            "num_sharing": len(others),
        }
        said.append(verdict)
    return said


def _said(entry_id: str, verdict: str, reason: str) -> Json:
    return {"id": entry_id, "verdict": verdict, "reason": reason, "path": []}


def _fate_of(explanation: Explanation, entry_id: str, entry: int) -> Json:
    """The verdict on an entry that was eligible, with its path as far as it was scored."""
    explored, fates = explanation.explored, explanation.fates
    if explored is None or fates is None:
        return _said(entry_id, "filtered", "no entry was eligible, so nothing was searched")
    path = explored.path(entry)
    dropped = [node for node in path[1:] if fates.fate[node] == Fate.CUT]
    node = dropped[0] if dropped else path[-1]
    fate = Fate(int(fates.fate[node]))
    verdict = _said(entry_id, fate.name.lower(), _reason(explanation, fates, node, fate))
    verdict["path"] = [_step(explanation, explored, fates, one) for one in path[1:]]
    return verdict


def _reason(explanation: Explanation, fates: Fates, node: int, fate: Fate) -> str:
    explored = explanation.explored
    assert explored is not None
    total, worst = float(fates.total[node]), fates.worst
    where = f"token {int(explored.depth[node])} ({explanation.token_text(int(explored.token[node]))!r})"
    match fate:
        case Fate.ANSWER:
            rank = int(np.flatnonzero(fates.answer == node)[0]) + 1
            return f"returned as number {rank} with {total:.3f}"
        case Fate.BEATEN:
            return f"scores {total:.3f}; the last one returned has {worst:.3f}"
        case Fate.CAPPED:
            number, attribute = explanation.options.cap or (0, "")
            return f"{total:.3f} at most; {number} of the same {attribute} with more are returned"
        case Fate.PRUNED:
            return f"after {where} at most {total:.3f} is possible; the last one returned has {worst:.3f}"
        case Fate.CUT:
            limit = float(fates.limit[node])
            width = explanation.options.beam_width
            return (
                f"the beam of width {width} dropped it at {where}: {total:.3f}, the last kept had {limit:.3f}"
            )
        case _:
            ended = f"the search ended after {explanation.hits.rows} rows"
            return f"not decided: after {where} {total:.3f} is possible, {ended}"


def _step(explanation: Explanation, explored: Explored, fates: Fates, node: int) -> Json:
    return {
        "token": explanation.token_text(int(explored.token[node])),
        "p": float(np.exp(explored.score[node])),
        "score": float(explored.score[node]),
        "bound": float(fates.total[node]),
        "entries": int(explored.hi[node] - explored.lo[node]),
        "known": int(explored.known[node]),
        "fed": int(explored.fed[node]),
        "fate": Fate(int(fates.fate[node])).name.lower(),
    }


class _Tree:
    """The explored nodes as nested JSON values, cut to the likeliest."""

    def __init__(self, explanation: Explanation, max_nodes: int) -> None:
        assert explanation.explored is not None and explanation.fates is not None
        self.said, self.explored, self.fates = explanation, explanation.explored, explanation.fates
        likeliest = np.argsort(-self.explored.score, kind="stable")[:max_nodes]
        self.shown = set(likeliest.tolist())  # with each node its parent: scores fall, and parents come first
        for node in self.fates.answer.tolist():
            while node not in self.shown:
                self.shown.add(node)
                node = int(self.explored.parent[node])
        self.rank = {node: rank for rank, node in enumerate(self.fates.answer.tolist(), start=1)}

    def node(self, node: int) -> Json:
        """A node with those of its children that are shown, and the sum of the others."""
        value = _step(self.said, self.explored, self.fates, node)
        if node in self.rank:
            hit = self.said.hits[self.rank[node] - 1]
            value["answer"] = {"rank": self.rank[node], "id": hit.id, "text": hit.text}
        below = self.explored.children(node)
        shown = [child for child in below.tolist() if child in self.shown]
        order = sorted(shown, key=lambda child: -self.explored.score[child])
        value["children"] = [self.node(child) for child in order]
        hidden = below[~np.isin(below, shown)]
        if hidden.size:
            fates, counts = np.unique(self.fates.fate[hidden], return_counts=True)
            value["rest"] = {
                "nodes": hidden.size,
                "p": float(np.exp(self.explored.score[hidden]).sum()),
                "bound": float(self.fates.total[hidden].max()),
                "fates": {Fate(int(f)).name.lower(): int(n) for f, n in zip(fates, counts, strict=True)},
            }
        return value
