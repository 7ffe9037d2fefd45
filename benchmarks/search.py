"""Searches over 12,613 keywords with SmolLM2-135M: `python -m benchmarks.search [SECTION ...]`.

Sections: verify_law and exact_law (answers checked), modes (milliseconds of our three searches), free_rows
(forwards where rows cost nothing), peers (transformers' constrained beam search).
On recorded rows, so that a run that was stopped goes on: anytime (what is found in time), laws (rows and
forwards of exact in each setting), deadlines (answers that come late, on the wall clock).
Without a model: structures_text and structures_ids (ways of keeping the allowed sequences), few_entries.
grammar: llama.cpp held to the catalogue by a grammar, greedy, on the untuned model.
The model is the tuned one unless `--adapter none`, whose results end in _untuned.
Each writes benchmarks/results/search_SECTION.json. Nothing is timed before its answers are checked.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

from benchmarks import (
    few_entries,
    grammar,
    machine,
    search_anytime,
    search_deadlines,
    search_laws,
    search_modes,
    search_peers,
    search_record,
    search_setting,
    structures,
)

SECTIONS = ("verify_law", "exact_law", "modes", "free_rows", "anytime", "laws", "deadlines", "peers")
OF_THEIR_OWN = ("structures_text", "structures_ids", "few_entries", "grammar")


def verify_law(options: argparse.Namespace) -> dict[str, Any]:
    """verify = stepwise on real queries, in float32."""
    return search_laws.verify_equals_stepwise(options.queries, "float32", options.adapter)


def exact_law(options: argparse.Namespace) -> dict[str, Any]:
    """exact = enumeration on 2,000 entries."""
    return search_laws.exact_equals_enumeration(min(options.queries, 50), 2000, options.adapter)


def modes(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds, forwards and rows of stepwise, verify and exact."""
    setting = search_setting.load(options.queries, adapter=options.adapter)
    setting.model.warm()
    return search_modes.times(setting, min(options.queries, 60), min(options.queries, 20))


def free_rows(options: argparse.Namespace) -> dict[str, Any]:
    """Forwards of verify with a budget of 1,024 rows per forward that cost nothing."""
    setting = search_setting.load(options.queries, adapter=options.adapter)
    return search_modes.forwards_with_free_rows(setting)


def recording(options: argparse.Namespace) -> search_record.Recording:
    """The first queries of a fixed sample, so that more of them go on from fewer."""
    found = search_setting.load(500, adapter=options.adapter, split=options.split)
    return search_record.Recording(replace(found, queries=found.queries[: options.queries]))


def anytime(options: argparse.Namespace) -> dict[str, Any]:
    """Recall against the true top 10 at each time budget; also written as a page."""
    result = search_anytime.curves(recording(options))
    (machine.RESULTS / "search_anytime.html").write_text(search_anytime.plot(result), encoding="utf-8")
    return result


def laws(options: argparse.Namespace) -> dict[str, Any]:
    """Rows and forwards of exact in each setting."""
    return search_anytime.settings(recording(options))


def deadlines(options: argparse.Namespace) -> dict[str, Any]:
    """Overruns and recall; deadlines measured before are kept."""
    recorded, found = recording(options), machine.read("search_deadlines").get("deadlines", [])
    asked = options.deadlines or search_deadlines.DEADLINES_MS
    new = [search_deadlines.measure(recorded, ms, options.requests) for ms in asked]
    kept = [one for one in found if one["deadline_ms"] not in asked]
    return {"deadlines": sorted([*kept, *new], key=lambda one: one["deadline_ms"])}


def peers(options: argparse.Namespace) -> dict[str, Any]:
    """Against transformers on the same model, keywords and prompts."""
    setting = search_setting.load(min(options.queries, options.peer_queries), adapter=options.adapter)
    setting.model.warm()
    return search_peers.compare(setting)


def of_its_own(section: str, options: argparse.Namespace) -> dict[str, Any]:
    """The sections that load what they need themselves."""
    if section == "few_entries":
        return few_entries.compare()
    if section == "grammar":
        return grammar.compare(options.sizes or grammar.SIZES)
    run = structures.structures_text if section == "structures_text" else structures.structures_ids
    result = run(tuple(options.sizes)) if options.sizes else run()
    return structures.with_earlier(result, machine.RESULTS / f"search_{section}.json")


def main() -> None:
    """Runs the sections asked for, all by default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join((*SECTIONS, *OF_THEIR_OWN))
    parser.add_argument("sections", nargs="*", default=SECTIONS, metavar="SECTION", help=names)
    parser.add_argument("--sizes", type=int, nargs="+", help="entries, of structures and grammar")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--peer-queries", type=int, default=20)
    parser.add_argument("--adapter", default=search_setting.TASK, help="name or folder; none: untuned")
    parser.add_argument("--split", default="test", help="of anytime and laws; guesses are set on dev")
    parser.add_argument("--deadlines", type=float, nargs="+", help="milliseconds, of deadlines")
    parser.add_argument("--requests", type=int, default=1000, help="per deadline")
    options = parser.parse_args()
    options.adapter = search_setting.adapter_named(options.adapter)
    run = {
        "verify_law": verify_law,
        "exact_law": exact_law,
        "modes": modes,
        "free_rows": free_rows,
        "anytime": anytime,
        "laws": laws,
        "deadlines": deadlines,
        "peers": peers,
    }
    for section in options.sections:
        if section not in (*run, *OF_THEIR_OWN):
            parser.error(f"unknown section {section!r}; choose from {names}")
    for section in options.sections:
        if section in OF_THEIR_OWN:
            result = of_its_own(section, options)
            print(json.dumps(result, indent=1))
            print(f"written to {machine.write(f'search_{section}', result)}")
            continue
        result = {"adapter": options.adapter, **run[section](options)}
        print(json.dumps(result, indent=1))
        name = f"search_{section}" if options.adapter else f"search_{section}_untuned"
        print(f"written to {machine.write(name, result)}")


if __name__ == "__main__":
    main()
