"""The client of the benchmark's peer against a fake peer process: protocol, refusals, deaths, silence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAKE_PEER = """
import json, sys, time
options = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
keywords = open(options["keywords"], encoding="utf-8").read().splitlines()
ready = {"ready": True, "entries": len(keywords), "beams": options["beams"], "end": options["end"]}
print(json.dumps(ready), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    first = request["tokens"][0]
    if first == 0:
        print(json.dumps({"error": "ValueError: no"}), flush=True)
    elif first == 1:
        sys.exit("the reason")
    elif first == 2:
        time.sleep(2)
    else:
        answer = {"ms": 1.5, "forwards": len(request["tokens"]), "entries": [1, 0]}
        print(json.dumps(answer | ({"scores": [-1.0, -2.0]} if request["scores"] else {})), flush=True)
"""


@pytest.fixture
def search_peer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """benchmarks.search_peer with the fake in place of the peer's script."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import search_peer

    script = tmp_path / "peer.py"
    script.write_text(FAKE_PEER, encoding="utf-8")
    monkeypatch.setattr(search_peer, "SCRIPT", script)
    return search_peer


@pytest.fixture
def start(search_peer: ModuleType) -> Iterator[Callable[..., object]]:
    """Starts fake peers and ends them after the test."""
    running = []

    def begin() -> object:
        options = search_peer.PeerOptions(beams=3)
        peer = search_peer.TransformersPeer(
            Path("x.gguf"), ["a", "café"], options, python=Path(sys.executable)
        )
        running.append(peer)
        return peer

    yield begin
    for peer in running:
        peer.close()


def test_answers_name_keywords_and_scores(start) -> None:  # type: ignore[no-untyped-def]
    peer = start()
    assert peer.ready == {"ready": True, "entries": 2, "beams": "3", "end": "\n"}
    answer = peer.request([7, 8])
    assert (answer.keywords, answer.scores, answer.forwards, answer.ms) == (
        ["café", "a"],
        [-1.0, -2.0],
        2,
        1.5,
    )
    assert peer.request([7], with_scores=False).scores == []


def test_a_refusal_a_death_and_silence_are_named(start) -> None:  # type: ignore[no-untyped-def]
    peer = start()
    with pytest.raises(RuntimeError, match="refused a request: ValueError: no"):
        peer.request([0])
    assert peer.request([7]).forwards == 1
    with pytest.raises(RuntimeError, match="stopped; it last said: the reason"):
        peer.request([1])
    with pytest.raises(RuntimeError, match="stopped"):
        peer.request([7])
    slow = start()
    with pytest.raises(RuntimeError, match="did not answer"):
        slow.request([2], timeout_s=0.1)


def test_scores_are_compared_where_both_have_the_keyword(search_peer: ModuleType) -> None:
    check = search_peer.check_scores({"a": -1.0, "b": -2.0}, {"b": -2.5, "c": 0.0})
    assert (check.num_common, check.max_difference) == (1, 0.5)
    assert search_peer.check_scores({}, {"c": 0.0}).max_difference == 0.0
