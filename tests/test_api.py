"""The Python face on a tiny real model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import adtrie
from adtrie.errors import CapacityError, CatalogueError, InputError
from adtrie.explain import explain
from adtrie.loaded import MAX_SESSIONS
from adtrie.request import Mode, Score, TargetOptions
from adtrie.search import enumerate_all, score_entries

GOLDEN = Path(__file__).parent / "golden"
SHORT = adtrie.PromptTemplate("Q: ", "\nA:")
NAMES = ["red shoe", "red shoes", "blue shoe", "green hat", "grey hat"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[adtrie.Model]:
    folder = tmp_path_factory.mktemp("model") / "llama"
    shutil.copytree(GOLDEN / "llama", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADTRIE_CACHE", str(tmp_path_factory.mktemp("cache")))
        loaded = adtrie.load_model(folder, weights="float32", activations="float32")
        yield loaded
        loaded.close()


@pytest.fixture(scope="module")
def catalogue(model: adtrie.Model) -> adtrie.Catalogue:
    return adtrie.Catalogue.build([(str(i), name) for i, name in enumerate(NAMES)], model)


def scores(hits: adtrie.Hits) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in hits]


def path_score(model: adtrie.Model, prompt: list[int], entry: list[int]) -> float:
    """Log-probability of `entry` after `prompt` from plain logits: what `raw` means."""
    logits = model.engine.logits([*prompt, *entry]).astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    logp = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(sum(logp[len(prompt) + i - 1, token] for i, token in enumerate(entry)))


def test_raw_scores_are_sums_over_the_plain_prompt(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    hits = model.target("a red shoe", catalogue, template=SHORT)
    prompt = model.tokenizer.encode_template("Q: a red shoe\nA:").tolist()
    for hit in hits:
        entry = model.tokenizer.encode(f" {hit.text}\n").tolist()
        assert hit.score == pytest.approx(path_score(model, prompt, entry), abs=1e-3)
    assert len(hits) == len(NAMES)
    assert hits.gap == 0.0
    assert hits.ms > 0


@pytest.mark.parametrize("score", ["raw", "renormalised"])
def test_requests_do_not_influence_each_other(
    model: adtrie.Model, catalogue: adtrie.Catalogue, score: str
) -> None:
    ask = lambda query, mode: scores(  # noqa: E731
        model.target(query, catalogue, 3, mode, score, template=SHORT)  # type: ignore[arg-type]
    )
    first = [ask(query, "verify") for query in ("hat", "shoe")]
    again = [ask(query, "stepwise") for query in ("shoe", "hat")]
    assert first == again[::-1]


def test_hits_are_a_sequence(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    hits = model.target("hat", catalogue, k=2, template=SHORT)
    assert hits[0] == next(iter(hits)) and hits[-1] == hits[:2][1]
    assert hits[0].ids == (hits[0].id,)
    assert hits.query == "hat"


def test_k_above_the_catalogue_gives_all_of_it(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    for mode in ("exact", "verify", "stepwise"):
        assert len(model.target("hat", catalogue, 200, mode, template=SHORT)) == len(NAMES)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"k": 0},
        {"k": -1},
        {"k": 2**31},
        {"k": True},
        {"k": 3.7},
        {"k": "5"},
        {"k": None},
        {"width": 0},
        {"width": 10**9},
        {"max_rows": 0},
        {"max_rows": 2**63},
        {"mode": "fast"},
        {"mode": None},
        {"score": "best"},
        {"k": 1000, "mode": "verify"},
    ],
)
def test_options_out_of_range(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(options))}: "):
        TargetOptions(**options)  # type: ignore[arg-type]


def test_old_templates_leave_the_cache(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    expected = scores(model.target("hat", catalogue, template=SHORT))
    for number in range(MAX_SESSIONS + 1):
        model.target("hat", catalogue, template=adtrie.PromptTemplate(f"{number}: ", "\nA:"))
    assert len(model._sessions) == MAX_SESSIONS
    assert scores(model.target("hat", catalogue, template=SHORT)) == expected


def test_an_empty_prefix_works(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    assert len(model.target("hat", catalogue, template=adtrie.PromptTemplate("", ""))) == len(NAMES)


def test_a_catalogue_of_another_tokenizer_is_refused(model: adtrie.Model) -> None:
    class Other:
        fingerprint = "other"
        vocab_size = model.tokenizer.vocab_size
        encode = staticmethod(model.tokenizer.encode)
        encode_batch = staticmethod(model.tokenizer.encode_batch)

    catalogue = adtrie.Catalogue.build(NAMES, Other())
    with pytest.raises(CatalogueError, match="adtrie index"):
        model.target("hat", catalogue, template=SHORT)
    with pytest.raises(CatalogueError, match="adtrie index"):
        model.unconditional(catalogue, SHORT)


def test_a_template_above_the_context_is_refused(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    with pytest.raises(CapacityError, match="context"):
        model.target("hat", catalogue, template=adtrie.PromptTemplate("x" * 2_000, "\nA:"))


@pytest.mark.parametrize("score", ["raw", "renormalised"])
@pytest.mark.parametrize("mode", ["exact", "verify", "stepwise"])
def test_a_prior_is_a_constant_per_entry(
    model: adtrie.Model, catalogue: adtrie.Catalogue, mode: Mode, score: Score
) -> None:
    values = np.random.default_rng(3).normal(0.0, 9.0, catalogue.num_entries)
    order = [catalogue.text(entry) for entry in range(catalogue.num_entries)]
    plain = model.target("hat", catalogue, 5, mode, score, template=SHORT)
    expected = {hit.text: hit.score + values[order.index(hit.text)] for hit in plain}
    hits = model.target("hat", catalogue, 5, mode, score, template=SHORT, prior=adtrie.Prior(values))
    assert [(hit.text, hit.score) for hit in hits] == sorted(
        expected.items(), key=lambda item: (-item[1], order.index(item[0]))
    )
    assert hits.gap == 0.0 and [hit.text for hit in hits] != [hit.text for hit in plain]


def test_seeds_join_a_narrow_beam_and_leave_exact_as_it_is(
    model: adtrie.Model, catalogue: adtrie.Catalogue
) -> None:
    every = model.target("hat", catalogue, template=SHORT)
    assert model.target("hat", catalogue, template=SHORT, seeds=[0, 3]).hits == every.hits
    texts = [catalogue.text(entry) for entry in range(catalogue.num_entries)]
    for hit in every:
        seed = texts.index(hit.text)
        for mode in ("verify", "stepwise"):
            found = model.target("hat", catalogue, 1, mode, width=1, template=SHORT, seeds=[seed])
            assert found[0].score >= hit.score
            within = model.target(
                "hat", catalogue, 1, mode, width=1, template=SHORT, seeds=[seed], deny_ids=hit.ids
            )
            assert within[0].text != hit.text
    near = adtrie.Neighbours(catalogue, count=1)
    assert texts[near.of(texts[2])[0]] == texts[2]
    assert model.target(texts[2], catalogue, template=SHORT, seeds=near).gap == 0.0
    with pytest.raises(InputError, match="seeds: expected entries from 0 to 4"):
        model.target("hat", catalogue, template=SHORT, seeds=[5])


@pytest.mark.parametrize("mode", ["exact", "verify", "stepwise"])
def test_a_fusion_is_a_constant_per_entry_and_request(
    model: adtrie.Model, catalogue: adtrie.Catalogue, mode: Mode
) -> None:
    nats = {"text": 30.0, "past": 11.0, "larger": -3.0, "seen": 2.0, "frequency": 0.5}
    fusion = adtrie.Fusion(nats, 0.0, nats, {})
    near = adtrie.Neighbours(catalogue, [("a beret", 3), ("cap", 3), ("boots", 0)], 1, fusion=fusion)
    for query in ("red cap", "boots", "zzz"):
        for prior in (None, adtrie.Prior([0.0, -5.0, 3.0, 0.0, 1.0])):
            constant = near.bonus(query) + (prior.values if prior else 0.0)
            plain = model.target(query, catalogue, 5, template=SHORT)
            entry_of = {catalogue.text(entry): entry for entry in range(5)}
            wanted = {hit.text: hit.score + constant[entry_of[hit.text]] for hit in plain}
            found = model.target(query, catalogue, 5, mode, template=SHORT, prior=prior, seeds=near)
            assert {hit.text: hit.score for hit in found} == pytest.approx(wanted, abs=1e-3)
            assert [hit.text for hit in found] == sorted(wanted, key=lambda text: -wanted[text])
            first = model.target(query, catalogue, 1, mode, width=1, template=SHORT, prior=prior, seeds=near)
            reached = wanted if mode == "exact" else {catalogue.text(at): 0 for at in near.of(query)}
            assert first[0].score >= max((wanted[text] for text in reached), default=-np.inf) - 1e-3
            denied = found[0]
            within = model.target(
                query, catalogue, 4, template=SHORT, prior=prior, seeds=near, deny_ids=denied.ids
            )
            assert [hit.text for hit in within] == [hit.text for hit in found if hit is not denied]


def test_a_prior_of_another_catalogue_is_refused(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    with pytest.raises(InputError, match="prior: expected 5 entries as in the catalogue, got 6"):
        model.target("hat", catalogue, template=SHORT, prior=adtrie.Prior(np.zeros(6)))


@pytest.mark.parametrize("template", [SHORT, adtrie.PromptTemplate("Q:", ""), adtrie.PromptTemplate("", "A")])
def test_unconditional_is_the_score_after_an_empty_query(
    model: adtrie.Model, catalogue: adtrie.Catalogue, template: adtrie.PromptTemplate
) -> None:
    prompt = model.tokenizer.encode_template(template.before.rstrip() + template.after)
    expected = enumerate_all(model.engine.session(), catalogue.trie, prompt)
    done: list[tuple[int, int]] = []
    found = model.unconditional(catalogue, template, lambda *counts: done.append(counts))
    assert found[expected.entries].tobytes() == expected.scores.tobytes()
    assert done == [(5, 5)]
    session = model.engine.session()
    for chunk_rows in (1, 4):
        again = score_entries(lambda: session.reset() or session, catalogue.trie, prompt, chunk_rows)
        assert again.tobytes() == found.tobytes()
    entry = int(expected.entries[0])
    path = catalogue.trie.tokens(entry).tolist()
    assert found[entry] == pytest.approx(path_score(model, prompt.tolist(), path), abs=1e-3)


def test_unconditional_needs_a_template_that_fits(model: adtrie.Model, catalogue: adtrie.Catalogue) -> None:
    assert not model.tokenizer.add_bos
    with pytest.raises(InputError, match="template"):
        model.unconditional(catalogue, adtrie.PromptTemplate("", ""))
    with pytest.raises(CapacityError, match="context"):
        model.unconditional(catalogue, adtrie.PromptTemplate("x" * 2_000, "\nA:"))


def test_public_names_exist() -> None:
    for name in adtrie.__all__:
        assert getattr(adtrie, name) is not None
    with pytest.raises(AttributeError):
        adtrie.no_such_name  # noqa: B018


@pytest.mark.parametrize("k", [1, 3, 5])
def test_bounded_normalisers_change_neither_scores_nor_proof(
    model: adtrie.Model, catalogue: adtrie.Catalogue, k: int
) -> None:
    for query in ("hat", "a red shoe"):
        full = model.target(query, catalogue, k, template=SHORT)
        bounded = model.target(query, catalogue, k, template=SHORT, normaliser="bounded")
        assert scores(bounded) == scores(full) and bounded.gap == 0.0


def test_a_bounded_request_in_time_needs_its_tokens_before(
    catalogue: adtrie.Catalogue, model: adtrie.Model
) -> None:
    asked = TargetOptions(2, deadline_ms=60_000, normaliser="bounded")
    with adtrie.load_model(model.name, weights="int8") as fresh:
        with pytest.raises(InputError, match="learn_frequent"):
            fresh.answer("hat", catalogue, asked, SHORT)
        with pytest.raises(InputError, match="learn_frequent"):
            fresh.warm(TargetOptions(1, normaliser="bounded"))
        fresh.learn_frequent(catalogue, SHORT)
        fresh.learn_frequent(catalogue)  # once: the second does nothing
        assert scores(fresh.answer("hat", catalogue, asked, SHORT)) == scores(
            fresh.target("hat", catalogue, 2, template=SHORT)
        )


def test_bounded_normalisers_are_for_single_exact_requests(
    model: adtrie.Model, catalogue: adtrie.Catalogue
) -> None:
    with pytest.raises(InputError, match="mode exact"):
        TargetOptions(mode="verify", normaliser="bounded")
    with pytest.raises(InputError, match="score raw"):
        TargetOptions(score="renormalised", normaliser="bounded")
    with pytest.raises(InputError, match="normaliser: expected one of full, bounded"):
        TargetOptions(normaliser="rough")  # type: ignore[arg-type]
    options = TargetOptions(2, normaliser="bounded")
    with pytest.raises(InputError, match="one at a time"):
        explain(model, "hat", catalogue, options, SHORT)
    many = list(model.target_many(["hat"], catalogue, 2, template=SHORT, normaliser="bounded"))
    assert isinstance(many[0], InputError) and "one at a time" in str(many[0])
