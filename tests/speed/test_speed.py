"""Parts to one result: kept and run again, ratios of rounds, claims, the README's table, the roofline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmarks import readme_table, speed, speed_summary
from benchmarks.paper_parts import Parts
from benchmarks.roofline import page, points
from benchmarks.speed import PARTS, Part, command, run_all


def engine(name: str, bits: int, decode: list[float], ours: bool = False) -> dict[str, Any]:
    """An engine whose prefills are 10, 20 and 30 times its decode."""
    tokens_s = {
        measure: {"median": sorted(decode)[1] * times, "samples": [value * times for value in decode]}
        for measure, times in zip(speed_summary.MEASURES, (1, 10, 20, 30), strict=True)
    }
    return {
        "engine": name,
        "label": name.upper(),
        "ours": ours,
        "bits": bits,
        "settings": {"weight_bytes": 80_000_000} if ours else {},
        "load_s": 0.4,
        "peak_bytes": 150,
        "model_bytes": 100,
        "tokens_s": tokens_s,
    }


def shape_part(shape: str = "135m") -> dict[str, Any]:
    return {
        "machine": {"processor": "P", "model": "family 1 model 2", "date": "2026-01-02", "commit": "abc"},
        "shape": shape,
        "label": "a <model>",
        "parameters": 134_515_008,
        "read_gb_s": 20.0,
        "int8_peak_gop_s": None,
        "engines": [
            engine("adtrie-int4", 4, [100, 200, 400], ours=True),
            engine("adtrie-mixed", 4, [150, 300, 500], ours=True),
            engine("llama-q4_0", 4, [50, 100, 100]),
            engine("torch-int8", 8, [200, 250, 200]),
            {"engine": "vllm-bf16", "label": "VLLM", "failed": "no wheel"},
        ],
    }


def result(**parts: dict[str, Any]) -> dict[str, Any]:
    named = {name.replace("_", "-"): part for name, part in parts.items()}
    return speed_summary.assemble(named) | {"parts": named}


def test_ratios_are_medians_over_rounds_and_know_the_bits() -> None:
    decode = speed_summary.ratios(shape_part())["decode"]
    assert decode["equal_bits"] == {"peer": "LLAMA-Q4_0", "times": 2.0}  # of 2, 2, 4
    assert decode["all"] == {"peer": "TORCH-INT8", "times": 0.8}  # of 0.5, 0.8, 2
    assert decode["mixed_over_dense"] == 1.5


def test_claims_say_what_was_found_missed_or_not_measured() -> None:
    manners = {"engines": [{**engine("adtrie-int4", 4, [1, 1, 1], True), "times_slower": 2.2}]}
    claims = {c["what"]: c for c in result(engines_135m=shape_part(), manners=manners)["claims"]}
    found = {what: (claim["found"], claim["met"]) for what, claim in claims.items()}
    assert found["135m decode, times the best peer of equal or fewer bits"] == (2.0, True)
    assert found["135m prefill of 128, times the best peer"] == (0.8, False)
    assert found["0.5b decode, mixed over dense"] == (None, None)
    assert found["decode beside a busy core, times slower"] == (2.2, True)
    assert found["135m peak memory over file size"] == (1.5, False)


def test_requests_are_held_against_both_peers_and_their_floor() -> None:
    faster = dict(zip(speed_summary.BEST_BEAMS, (20.0, 11.0), strict=True))
    rows = [{"name": "adtrie INT4 verify width 10", "times_faster_than": faster, "times_floor": 1.9}]
    claims = speed_summary.assemble({"targeting": {"ours": rows}})["claims"]
    met = [claim["met"] for claim in claims if claim["found"] is not None]
    assert met == [True, False, False]


def test_bounds_and_company_come_from_the_parts_that_measure_them() -> None:
    shapes = [{"shape": "0.5b", "decode_share_of_bound": 0.9, "prefill_128": {"share_of_peak": 0.6}}]
    run = {"requests": 64, "throughput_ratio": 1.4, "p99_of_queue": 1.2, "differing_answers": 1}
    parts = {"engine": {"shapes": shapes}, "concurrent": {"modes": {"exact k=1": run, "x": {}}}}
    found = {c["what"]: c["met"] for c in speed_summary.assemble(parts)["claims"] if c["met"] is not None}
    assert found == {
        "0.5b decode, share of the bandwidth bound": True,
        "0.5b prefill of 128, share of the INT8 peak": False,
        "64 requests at once, exact k=1, requests/s over one by one": True,
        "64 requests at once, exact k=1, p99 over a fair queue's": True,
        "64 requests at once, exact k=1, answers that differ": False,
    }


def test_what_others_disturbed_is_counted() -> None:
    part = shape_part()
    part["engines"][0] |= {"rounds": 5, "disturbed_rounds": 2}
    rows = {"ours": [{"requests": 30, "disturbed": 1}], "peers": []}
    assert speed_summary.disturbed({"a": part, "b": rows, "c": {"failed": "x"}}) == (3, 35)


def test_the_table_has_a_row_for_each_engine_also_of_failed_ones() -> None:
    lines = speed_summary.table(result(engines_135m=shape_part()))
    assert lines[2].startswith("| ADTRIE-INT4 | 200 | 4000 | 6000 |")
    assert lines[-1].startswith("| VLLM |  |  |  |")
    assert "VLLM (135m): no wheel" in speed_summary.text(result(engines_135m=shape_part()))


def test_the_readme_takes_its_table_from_the_result(tmp_path: Path) -> None:
    assert "make bench" in readme_table.speed_table(tmp_path)
    (tmp_path / "speed.json").write_text(json.dumps(result(engines_135m=shape_part())), encoding="utf-8")
    table = readme_table.speed_table(tmp_path)
    assert "2 threads, medians. P (family 1 model 2), 2026-01-02." in table
    assert "| 135m prefill of 128, times the best peer | at least 1.1 | 0.8 (missed) |" in table
    assert "| 0.5b decode, mixed over dense | at least 1.25 | not measured |" in table


def test_parts_of_several_machines_are_told_apart(tmp_path: Path) -> None:
    other = shape_part("1.5b")
    other["machine"] = other["machine"] | {"model": "family 3 model 4"}
    both = result(engines_135m=shape_part(), **{"engines-1.5b": other})
    (tmp_path / "speed.json").write_text(json.dumps(both), encoding="utf-8")
    named = (
        "P (family 1 model 2), 2026-01-02 (engines-135m); P (family 3 model 4), 2026-01-02 (engines-1.5b)."
    )
    assert named in readme_table.speed_table(tmp_path)


def test_the_roofline_is_a_page_of_its_own() -> None:
    whole = page(result(engines_135m=shape_part()))
    svg = whole[whole.index("<svg") : whole.index("</svg>") + 6]
    root = ElementTree.fromstring(svg)
    assert len([item for item in root.iter("circle") if len(item)]) == 16  # engines times measures
    assert "a &lt;model&gt;" in whole and "http" not in whole and "<script" not in whole
    assert "Nothing was measured" in page(result())
    first = next(points(shape_part()))
    assert first.intensity == pytest.approx(2 * 134_515_008 / 80_000_000)
    assert first.gop_s == pytest.approx(2 * 134_515_008 * 200 / 1e9)


def test_finished_parts_are_kept_and_failures_are_not(tmp_path: Path) -> None:
    parts, runs = [Part("good", "m"), Part("bad", "m")], []

    def run(part: Part) -> dict[str, Any]:
        runs.append(part.name)
        return {"failed": "no"} if part.name == "bad" else {"value": len(runs)}

    store = Parts(tmp_path)
    for again, expected in ((False, ["good", "bad"]), (False, ["bad"]), (True, ["good", "bad"])):
        runs.clear()
        found = run_all(parts, store, run, lambda part: "commit 1", again)
        assert runs == expected and found["bad"] == {"failed": "no"}
    runs.clear()
    run_all(parts, store, run, lambda part: "commit 2")
    assert runs == ["good", "bad"]  # another commit is another question


def test_parts_that_were_not_asked_for_stay(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    assert speed.with_earlier({"manners": {"n": 1}}, path) == {"manners": {"n": 1}}
    path.write_text(json.dumps({"parts": {"manners": {"n": 0}, "engine": {"n": 2}}}))
    found = speed.with_earlier({"manners": {"n": 1}, "engines-135m": {"n": 3}}, path)
    assert list(found) == ["engines-135m", "manners", "engine"]
    assert found["manners"] == {"n": 1}


def test_parts_and_their_commands(tmp_path: Path) -> None:
    assert sum(part.minutes for part in PARTS) <= 30
    first, engine_part = PARTS[0], next(part for part in PARTS if part.name == "engine")
    whole = command(first, True, ["llama-q4_0"], tmp_path / "x")
    assert whole[1:5] == ["-m", "benchmarks.speed_engines", "--shape", "135m"]
    assert whole[-4:] == ["--engines", "llama-q4_0", "--out", str(tmp_path / "x")]
    assert command(engine_part, False, ["llama-q4_0"], None)[1:] == ["-m", "benchmarks.engine"]
    assert "engine" not in [part.name for part in speed.chosen_parts([], quick=True)]
    with pytest.raises(SystemExit, match="unknown part 'speeed'"):
        speed.chosen_parts(["speeed"], quick=False)


def test_only_what_the_parts_need_is_made() -> None:
    manners = speed.chosen_parts(["manners"], quick=True)
    assert list(speed.needs(manners, ["adtrie-int4", "llama-q4_0"], True)) == [
        "engine llama_cpp",
        "engine transformers",
        "adtrie-int4 of 135m",
        "gguf-q4_0 of 135m",
    ]
    assert "plan of adtrie-int4 of 135m" in speed.needs(manners, ["adtrie-int4"], quick=False)
    everything = speed.needs(PARTS, [], False)
    assert {"tuned-mixed", "onnx-int4 of 1.5b", "the catalogue of 1.7 million strings"} < everything.keys()


def test_what_cannot_be_had_is_told_and_the_rest_is_made() -> None:
    made, told = [], []

    def fails() -> None:
        raise RuntimeError("no compiler")

    missing = speed.prepare({"a": fails, "b": lambda: made.append("b")}, told.append)
    assert missing == told == ["a: no compiler"] and made == ["b"]


def test_a_part_that_is_missing_or_fails_is_named() -> None:
    missing = speed.run_part(Part("x", "benchmarks.not_there"), False, [])
    assert missing == {"failed": "benchmarks.not_there is not in this checkout"}
    failing = speed.run_part(Part("x", "benchmarks.speed_engines", ("--shape", "no")), False, [])
    assert "exit code 2" in failing["failed"]
