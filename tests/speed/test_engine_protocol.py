"""The protocol that every engine process speaks, with a counting engine in place of a real one."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import protocol
import pytest
from benchmarks.engines import ENGINES, OUR_REFERENCE, EngineKind, chosen
from benchmarks.json_process import JsonProcess
from benchmarks.peers.setup import HERE, peer_names

COUNTING = """
    import sys
    sys.path.insert(0, {peers!r})
    from protocol import Decoder, Timeline, serve

    class Counting(Decoder):
        packages = ("numpy",)
        def __init__(self, options):
            print("a library's chatter")
            self.step = int(options.model)
        def settings(self):
            return {{"step": self.step}}
        def generate(self, tokens, count):
            if tokens[0] == 13:
                raise RuntimeError("unlucky")
            if tokens[0] == 99:
                count -= 1
            line = Timeline()
            for number in range(count):
                line.add(tokens[-1] + self.step * (number + 1))
            return line.generated()
    serve(Counting)
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[JsonProcess]:
    """A process that counts upwards in threes."""
    script = tmp_path / "counting.py"
    script.write_text(textwrap.dedent(COUNTING).format(peers=str(HERE)), encoding="utf-8")
    command = [sys.executable, str(script), "--model=3", "--threads=1"]
    with JsonProcess("counting engine", command, os.environ) as process:
        yield process


def test_an_engine_says_ready_and_continues_a_prompt(engine: JsonProcess) -> None:
    assert engine.ready["settings"] == {"step": 3} and "numpy" in engine.ready["versions"]
    answer = engine.ask({"do": "generate", "tokens": [1, 2], "count": 3})
    assert answer["tokens"] == [5, 8, 11]
    assert answer["first_s"] >= 0 and answer["rest_s"] >= 0
    memory = engine.ask({"do": "memory"})
    assert memory["peak_bytes"] >= memory["resident_bytes"] > 1_000_000


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"do": "generate", "tokens": [13], "count": 1}, "RuntimeError: unlucky"),
        ({"do": "generate", "tokens": [99], "count": 3}, "gave 2 tokens, 3 were asked for"),
        ({"do": "generate", "tokens": [], "count": 3}, "0 tokens"),
        ({"do": "generate", "tokens": [1], "count": protocol.CONTEXT}, "together"),
        ({"do": "dance"}, "expected do: generate or memory"),
    ],
)
def test_a_refused_request_is_named_and_the_next_is_answered(
    engine: JsonProcess, request_: dict[str, object], said: str
) -> None:
    with pytest.raises(RuntimeError, match=said):
        engine.ask(request_)
    assert engine.ask({"do": "generate", "tokens": [1], "count": 1})["tokens"] == [4]


def test_a_paused_engine_answers_when_it_goes_on(engine: JsonProcess) -> None:
    engine.pause()
    with pytest.raises(RuntimeError, match="did not answer"):
        engine.ask({"do": "memory"}, timeout_s=0.1)
    engine.resume()
    assert engine.ask({"do": "generate", "tokens": [1], "count": 1})["peak_bytes"] > 0  # the late answer


def test_every_engine_has_its_script_and_its_environment() -> None:
    names = {kind.name for kind in ENGINES}
    assert len(names) == len(ENGINES)
    for kind in (*ENGINES, OUR_REFERENCE):
        assert (HERE / kind.script).is_file()
        assert kind.ours or kind.peer in peer_names()
    assert [kind.name for kind in chosen(["llama-q4_0", "adtrie-int4"])] == ["adtrie-int4", "llama-q4_0"]
    with pytest.raises(SystemExit, match="unknown engine 'lama'"):
        chosen(["lama"])


def test_our_own_engine_speaks_it(tmp_path: Path) -> None:
    golden = shutil.copytree(Path(__file__).parents[1] / "golden" / "qwen2", tmp_path / "qwen2")
    kind = EngineKind("tiny", "tiny", "", "run_adtrie.py", "hf", 32, "float32")
    command = kind.command(Path(sys.executable), golden, 1)
    environment = kind.environment(1) | {"ADTRIE_CACHE": str(tmp_path / "cache")}
    with JsonProcess("tiny engine", command, environment) as process:
        together = process.ask({"do": "generate", "tokens": [5, 6, 7], "count": 4})["tokens"]
        first = process.ask({"do": "generate", "tokens": [5, 6, 7], "count": 1})["tokens"]
        rest = process.ask({"do": "generate", "tokens": [5, 6, 7, *first], "count": 3})["tokens"]
    assert [*first, *rest] == together
