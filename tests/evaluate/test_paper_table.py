"""The paper's table: plans at equal bytes on a tiny model, lines, changes, parts, timing in turns, page."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [path for path in (str(ROOT), str(ROOT / "tests" / "compress")) if path not in sys.path]

from benchmarks import paper_plans  # noqa: E402
from benchmarks.paper_assemble import assembled, changes, mix_shape, paper_line, share_of_way  # noqa: E402
from benchmarks.paper_page import bar_chart, paper_page  # noqa: E402
from benchmarks.paper_parts import Parts, identity  # noqa: E402
from benchmarks.paper_plans import PanelRun, linear_shapes, make_plan, sparsest_share, uniform_bytes  # noqa: E402
from benchmarks.paper_rows import (  # noqa: E402
    ALL_ROWS,
    MIXES,
    PAPER,
    ROWS,
    SCENARIOS,
    MixRecipe,
    Uniform,
    group_pairs,
)
from benchmarks.paper_table import chosen_rows  # noqa: E402
from benchmarks.paper_timing import FAST, PLAIN, Timed, interleaved  # noqa: E402
from compress_models import make_samples, random_source  # noqa: E402
from paper_parts_made import all_parts, quality, timing  # noqa: E402

from adtrie.compress.block import float_matrix  # noqa: E402
from adtrie.compress.divergence import Comparison  # noqa: E402
from adtrie.compress.pipeline import Texts  # noqa: E402
from adtrie.compress.samples import make_batches  # noqa: E402
from adtrie.errors import InputError  # noqa: E402

TEXTS = Texts(make_samples(24, 1), make_samples(6, 2), make_samples(6, 3))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> PanelRun:
    """A finished calibration of a tiny model."""
    source = random_source(num_heads=4, num_kv_heads=2)  # widths that hold the groups of sparse panels
    run = PanelRun(source, TEXTS, paper_plans.SETTINGS, tmp_path_factory.mktemp("paper") / "work")
    run.calibrate()
    return run


def test_every_recipe_keeps_its_bytes_and_can_be_solved(run: PanelRun) -> None:
    shapes = linear_shapes(run.source)
    for row in ALL_ROWS.values():
        if row.recipe is None:
            continue
        plan = make_plan(row.recipe, run)
        run.check_plan(plan)
        allowed = sum(share * uniform_bytes(each, shapes) for share, each in row.recipe.bytes_of)
        mixed = isinstance(row.recipe, MixRecipe)
        assert not allowed or (0.6 if mixed else 0.8) * allowed < plan.num_bytes <= allowed, row.name
        blocks = [choice for choice in plan.choices if choice.name.startswith("layers.")]
        assert {kept for choice in blocks for kept in choice.kept} <= set(row.recipe.patterns), row.name
        assert {choice.bits for choice in blocks} == {4}
        if mixed:
            assert sparsest_share(plan.choices, shapes) >= row.recipe.least_sparsest == 0.5
            assert {choice.bits for choice in plan.choices} == {4}


def test_a_mixed_linear_is_what_solving_it_whole_gives(run: PanelRun) -> None:
    plan = make_plan(ALL_ROWS["2:4+int4"].recipe, run)
    wide = next(choice for choice in plan.choices if choice.name == "layers.0.gate")
    mixed = replace(wide, kept=(4, 1, 2, 2, 1, 4, 1, 2))
    together, whole = run.solved(mixed), super(PanelRun, run).solved(mixed)
    assert np.array_equal(together.mask, whole.mask)
    # Products over other numbers of rows round differently, so that a code may end elsewhere, no worse.
    weights, sensitivity = float_matrix(run.source, mixed.name), run.sensitivity(mixed.name)
    costs = [sensitivity.row_costs(weights, each.dequantize()).sum() for each in (together, whole)]
    assert costs[0] == pytest.approx(costs[1], rel=0.01)
    assert np.mean(together.values.codes == whole.values.codes) > 0.95


def test_one_calibration_serves_every_method(run: PanelRun) -> None:
    choice = make_plan(ALL_ROWS["rtn"].recipe, run).choices[1]
    codes = {}
    for method in ("nearest", "gptq", "polish"):
        run.use(method)
        codes[method] = run.solved(choice).values.codes.tobytes()
    assert len(set(codes.values())) > 1


def test_orders_make_the_right_end_sparse(run: PanelRun) -> None:
    def kept(name: str, block: int) -> float:
        choices = make_plan(ALL_ROWS[name].recipe, run).choices
        counts = [k for each in choices if each.name.startswith(f"layers.{block}.") for k in each.kept]
        return sum(counts) / len(counts)

    assert kept("sparser-late", 0) > kept("sparser-late", 1)
    assert kept("sparser-early", 0) < kept("sparser-early", 1)


def test_kept_states_give_the_same_divergence() -> None:
    source, batches = random_source(), make_batches(make_samples(6, 4))
    first = Comparison(source, batches)
    again = Comparison(source, batches, [states.copy() for states in first.hidden])
    other = random_source(seed=3)
    assert first.of(other) == again.of(other)
    assert first.of(other).kl_mean > 0.01


def test_rows_have_names_of_their_own_and_comparisons_exist() -> None:
    assert len({row.file_name for row in ALL_ROWS.values()}) == len(ALL_ROWS)
    named = {name for pair in group_pairs() for name in pair} | {n for names in MIXES.values() for n in names}
    assert named <= set(ALL_ROWS)
    assert [row.name for row in chosen_rows(["mix+int4", "mix+int4", "rtn"])] == ["mix+int4", "rtn"]
    assert chosen_rows(["all"]) == list(ROWS)
    assert chosen_rows(["none"]) == []
    with pytest.raises(SystemExit, match="'5:4' is unknown"):
        chosen_rows(["5:4"])


def test_the_papers_speed_ups_are_those_it_states() -> None:
    stated = {
        "adaptive": 1.37,
        "2:4": 1.25,
        "1:4": 1.43,
        "2:4+int4": 1.65,
        "1:4+int4": 1.89,
        "mix+int4": 1.78,
    }
    table = PAPER["creative"]
    for name, speed_up in stated.items():
        assert paper_line(table[name], table["full"])["speed_up"][0] == pytest.approx(speed_up, abs=0.01)
    assert paper_line(table["mix+int4"], table["full"])["bleu_change"] == pytest.approx(-4.9, abs=0.05)


def test_changes_are_percent_and_only_between_equal_questions() -> None:
    found = changes(quality(0.1), quality(0.0))
    assert found == pytest.approx({"bleu": -10, "meteor": -10, "perplexity": 10})
    assert changes(quality(0.1), None) is None
    assert changes(quality(0.1, sample=21), quality(0.0)) is None


def test_the_mix_lies_between_its_ends() -> None:
    levels = {"2of4-int4": 0.1, "mix-int4": 0.12, "1of4-int4": 0.3}
    parts = {name: {"quality": quality(level, int(1e6 * level))} for name, level in levels.items()}
    shape = mix_shape(parts)
    assert shape is not None and list(shape) == ["before recover"]
    measures = ("kl_mean", "perplexity", "bytes", "bleu", "meteor")
    assert shape["before recover"]["way"] == pytest.approx(dict.fromkeys(measures, 0.1))
    assert mix_shape({key: parts[key] for key in ("mix-int4",)}) is None
    assert share_of_way(1.0, 2.0, 1.0) is None


def test_rows_that_are_not_made_say_how() -> None:
    parts = all_parts()
    del parts["gptq"]
    lines = assembled(SCENARIOS["creative"], parts)["lines"]
    by_label = {(line["row"], line["label"]): line for line in lines}
    assert by_label["gptq", "GPTQ INT4"]["command"].endswith("--rows full gptq")
    assert by_label["gptq", "+ recover"]["command"] == "make the row 'GPTQ INT4' first"
    assert "recover it" in by_label["rtn", "+ recover"]["command"]
    assert not by_label["rtn", "+ recover"]["made"]
    plain, fast = by_label["adaptive", "adaptive INT4"], by_label["adaptive", "+ draft tree"]
    assert fast["ms_per_request"] == plain["ms_per_request"] / 2
    assert fast["metrics"] == plain["metrics"]
    assert plain["paper"]["bleu"] == 0.4178
    assert ("2:4", "+ draft tree") not in by_label


def test_recovered_parts_become_lines_and_a_shape() -> None:
    parts = all_parts()
    for name in ("2of4-int4", "mix-int4", "1of4-int4"):
        parts[f"{name}-recovered"] = {
            "quality": quality(0.02, parts[name]["quality"]["bytes"]),
            "timing": timing(2.0),
        }
    found = assembled(SCENARIOS["targeting"], parts)
    line = next(line for line in found["lines"] if line["row"] == "mix+int4" and "+ recover" in line["label"])
    assert line["made"] and line["speed_up"] == 4
    assert "after recover" in found["shape"]
    parts["mix-int4"]["quality"] |= {"bytes": 1}  # the row was made again with another plan
    found = assembled(SCENARIOS["targeting"], parts)
    line = next(line for line in found["lines"] if line["row"] == "mix+int4" and "+ recover" in line["label"])
    assert not line["made"] and "after recover" not in found["shape"]
    assert [pair["adaptive_is_better"] for pair in found["groups"]].count(True) < len(found["groups"]) + 1


def test_parts_survive_and_answer_only_their_own_question(tmp_path: Path) -> None:
    parts = Parts(tmp_path / "targeting")
    assert parts.load("mix", "quality") is None and parts.all() == {}
    parts.save("mix", "quality", identity("a", 1), {"kl_mean": 0.5})
    path = parts.save("mix", "timing", "t", {"ms": 3})
    again = Parts(tmp_path / "targeting")
    assert again.load("mix", "quality", identity("a", 1))["kl_mean"] == 0.5
    assert again.load("mix", "quality", identity("a", 2)) is None
    assert again.load("mix", "timing", "t")["machine"]["python"]
    assert set(again.all()) == {"mix"}
    path.write_text(path.read_text()[:-20])
    assert again.load("mix", "quality") is None
    parts.save("mix", "quality", "b", {})
    assert json.loads(path.read_text())["quality"]["identity"] == "b"


def test_ways_take_turns_and_ratios_are_of_the_same_request() -> None:
    order: list[str] = []
    ticks = count(0.0, 0.001)
    ways = {name: (lambda request, name=name: order.append(name)) for name in "abc"}
    found = interleaved(["x", "y", "z"], ways, lambda: next(ticks))
    assert "".join(order) == "abcbcacab"
    assert found == {name: pytest.approx([1.0, 1.0, 1.0]) for name in "abc"}
    times = {("full", PLAIN): [8.0, 80.0], ("full", FAST): [4.0, 40.0], ("r", PLAIN): [2.0, 20.0]}
    times["r", FAST] = [1.0, 10.0]
    timed = Timed(times, {"full": [6.0], "r": [2.0]})
    found_r = timed.summary("r", "full")
    assert (found_r["speed_up"], found_r["speed_up_fast"], found_r["token_speed_up"]) == (4.0, 8.0, 3.0)


def test_texts_of_other_lengths_are_compared_per_token() -> None:
    times = {("full", PLAIN): [8.0, 80.0], ("full", FAST): [4.0, 40.0], ("r", PLAIN): [2.0, 20.0]}
    times["r", FAST] = [1.0, 10.0]
    timed = Timed(times, {"full": [6.0], "r": [2.0]}, {"full": [4, 20], "r": [2, 10]})
    half = timed.summary("r", "full")
    assert (half["speed_up"], half["speed_up_fast"], half["ms_per_written"]) == (2.0, 4.0, 1.833)


class Tags(HTMLParser):
    """Open tags left, and all data."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.bars = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.bars += tag == "rect"
        if tag not in {"meta", "br", "line", "polyline", "rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"rect", "line", "polyline"}:
            assert self.open.pop() == tag


def test_the_page_is_whole_with_all_parts_and_with_none() -> None:
    for parts in ({}, all_parts()):
        page = paper_page({name: assembled(each, parts) for name, each in SCENARIOS.items()})
        tags = Tags()
        tags.feed(page)
        assert tags.open == []
        assert ("not made" in page) and ("<script" not in page)
    assert "mix + INT4" in page and "1.78x" in page and tags.bars > 20
    assert "adaptive groups at the bytes of uniform ones" in page


def test_bars_are_as_long_as_their_values_and_labels_are_escaped() -> None:
    svg = bar_chart([("<b>", (1.0, None)), ("two", (2.0, 1.5))], ("ours", "paper"))
    assert "&lt;b&gt;" in svg and "<b>" not in svg
    widths = [float(part.split('"')[0]) for part in svg.split('width="')[1:]]
    assert widths[:2] == [155.0, 310.0]


def test_a_recipe_below_the_smallest_plan_is_refused(run: PanelRun) -> None:
    recipe = replace(ALL_ROWS["mix+int4"].recipe, bytes_of=((0.1, Uniform(64, 1)),))
    with pytest.raises(InputError, match="below the smallest"):
        make_plan(recipe, run)
