"""An explanation as text for a terminal: costs, mass by level, the tree, the fate of one entry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from adtrie.cli.terminal import printable

Json = dict[str, Any]


def as_text(said: Json) -> str:
    """Lines for people of what `Explanation.as_json` gives."""
    lines = [*_costs(said), *_levels(said["levels"])]
    if said["tree"] is not None:
        lines += [
            "tree (probability, token, entries below, forward that fed it)",
            *_tree(said["tree"], "", ""),
        ]
    return printable("\n".join(f"      {line}" for line in lines))


def why_as_text(verdicts: list[Json]) -> str:
    """Lines for people of what `why` gives."""
    lines = []
    for one in verdicts:
        text = f" {one['text']!r}" if "text" in one else ""
        lines.append(f"why {one['id']}{text}: {one['verdict']}: {one['reason']}")
        if one.get("num_sharing"):
            shown = ", ".join(one["shares_tokens_with"][:5])
            lines.append(f"  one entry with {one['num_sharing']:,} other ids: {shown}")
        lines += [f"  {step['score']:9.3f}  {step['token']!r}  {step['fate']}" for step in one["path"]]
    return printable("\n".join(f"      {line}" for line in lines))


def _costs(said: Json) -> Iterator[str]:
    time = said["time"]
    yield (
        f"{time['model_ms']:.1f} ms in the model, {time['search_ms']:.1f} ms beside it; "
        f"{len(said['forwards'])} forwards:"
    )
    for number, one in enumerate(said["forwards"]):
        yield (
            f"  {number:3d}  at {one['started_ms']:8.1f} ms  {one['ms']:8.1f} ms  "
            f"{one['rows']:5d} rows  {one['scores']:6d} scores"
        )


def _levels(levels: list[Json]) -> Iterator[str]:
    if not levels:
        return
    yield "mass by level: expanded, ended in an entry, not followed, outside the catalogue"
    for one in levels:
        yield (
            f"  {one['depth']:3d}  {one['num_expanded']:5d} of {one['nodes']:6d} nodes  "
            f"{_share(one['expanded'])}  {_share(one['finished'])}  {_share(one['left'])}  "
            f"{_share(one['outside'])}"
        )


def _tree(node: Json, lead: str, below: str) -> Iterator[str]:
    """The node and what is below it; nodes that have only each other share a line."""
    tokens, last = [node["token"]], node
    while len(last["children"]) == 1 and "rest" not in last and last["fed"] >= 0:
        last = last["children"][0]
        tokens.append(last["token"])
    yield lead + _line("".join(tokens), last)
    ends = [*last["children"], *([last["rest"]] if "rest" in last else [])]
    for number, child in enumerate(ends, start=1):
        branch, rest = ("└─ ", "   ") if number == len(ends) else ("├─ ", "│  ")
        if "children" in child:
            yield from _tree(child, below + branch, below + rest)
        else:
            counts = ", ".join(f"{count:,} {fate}" for fate, count in child["fates"].items())
            yield f"{below}{branch}{_share(child['p'])}  others: {counts}; best bound {child['bound']:.3f}"


def _line(text: str, node: Json) -> str:
    line = f"{_share(node['p'])}  {text!r}"
    if "answer" in node:
        answer = node["answer"]
        return f"{line}  = number {answer['rank']}: {answer['text']} [{answer['id']}] {node['bound']:.3f}"
    if node["fed"] >= 0:
        return f"{line}  {node['entries']:,} entries, forward {node['fed']}"
    return f"{line}  {node['entries']:,} entries, {node['fate']} at {node['bound']:.3f}"


def _share(p: float) -> str:
    """A probability in 7 characters."""
    return f"{p:7.4f}" if p >= 0.001 or p == 0 else f"{p:7.1e}"
