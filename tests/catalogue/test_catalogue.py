"""Building catalogues: merging, refusing, ids, bids, attributes; and the same content after save and open."""

from __future__ import annotations

import numpy as np
import pytest
from byte_tokenizer import ByteTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.catalogue import Catalogue, Merge, Payload, Refusal
from adtrie.catalogue.normalise import normalise
from adtrie.errors import CatalogueError, InputError


def build(rows, tokenizer=None, **options):
    return Catalogue.build(rows, tokenizer or ByteTokenizer(), **options)


def content(catalogue):
    """Everything a caller can read of a catalogue."""
    return [
        (catalogue.text(e), catalogue.ids(e), catalogue.rows(e), catalogue.trie.tokens(e).tolist())
        for e in range(len(catalogue))
    ]


def test_tokens_are_prefix_text_end():
    catalogue = build(["red shoes", "red", "red shoes for men"])
    tokens = [bytes(catalogue.trie.tokens(e).tolist()) for e in range(3)]
    assert tokens == [b" red\n", b" red shoes\n", b" red shoes for men\n"]
    assert [catalogue.text(e) for e in range(3)] == ["red", "red shoes", "red shoes for men"]
    assert (catalogue.info.prefix, catalogue.info.end, catalogue.info.end_token) == (" ", "\n", 10)
    other = build(["red"], prefix=">", end=";")
    assert bytes(other.trie.tokens(0).tolist()) == b">red;"


def test_without_ids_the_text_is_the_id():
    catalogue = build(["b", "a", " b "])
    assert [catalogue.ids(e) for e in range(2)] == [["a"], ["b"]]
    assert catalogue.report.merged == (Merge(3, 1, True),)
    assert (catalogue.report.num_rows, catalogue.report.num_merged, len(catalogue)) == (3, 1, 2)


def test_duplicates_keep_all_ids_and_the_highest_bid():
    catalogue = build(
        [
            {"text": "red  shoes", "id": "a", "bid": 2, "brand": "x"},
            {"text": "red shoes", "id": 7, "bid": "3.5", "brand": "y"},
            {"text": "red shoes", "bid": 1},
            {"text": "red shoes", "id": "a"},
            ("z", "blue"),
        ]
    )
    assert [catalogue.text(e) for e in range(2)] == ["blue", "red shoes"]
    assert catalogue.ids(1) == ["a", "7", "red shoes"]
    assert (catalogue.bid(0), catalogue.bid(1)) == (1.0, 3.5)
    assert (catalogue.attributes(0), catalogue.attributes(1)) == ({}, {"brand": "y"})
    assert catalogue.rows(1)[0] == Payload("a", 2.0, {"brand": "x"})
    assert [m.line for m in catalogue.report.merged] == [2, 3, 4]


def test_other_text_with_equal_tokens_merges():
    catalogue = build(["Red", "blue", "RED"], ByteTokenizer(fold_case=True))
    assert [(catalogue.text(e), catalogue.ids(e)) for e in range(2)] == [
        ("blue", ["blue"]),
        ("Red", ["Red", "RED"]),
    ]
    assert catalogue.report.merged == (Merge(3, 1, False),)


def test_composed_and_decomposed_are_one_entry():
    assert build(["caf\u00e9", "cafe\u0301"]).ids(0) == ["caf\u00e9"]


def test_refused_rows_are_listed_by_line():
    rows = ["a", "", "b\x00", "c", "x" * 20, "d;e", "f", "g", {"id": 1}, "h", "i"]
    catalogue = build(rows, max_tokens=10, max_chars=15, end=";")
    assert [r.line for r in catalogue.report.refused] == [2, 3, 5, 6, 9]
    assert all(isinstance(r, Refusal) for r in catalogue.report.refused)
    assert catalogue.report.num_refused == 5 and len(catalogue) == 6
    reasons = [r.reason for r in build(["a" * 9, "b", "c"], max_tokens=10).report.refused]
    assert reasons == ["11 tokens with the end token, expected at most 10"]
    assert len(build(["a" * 8, "b"], max_tokens=10)) == 2


def test_text_without_tokens_is_refused():
    class Deaf(ByteTokenizer):
        def encode(self, text):
            return super().encode("" if "?" in text else text)

    catalogue = build(["a", "?", "b", "??"], Deaf())
    assert [(r.line, r.reason) for r in catalogue.report.refused] == [
        (2, "the text makes no tokens"),
        (4, "the text makes no tokens"),
    ]


def test_quota():
    assert len(build(["a", "b", "", ""])) == 2
    with pytest.raises(CatalogueError, match=r"2 of 3 rows refused.*line 2: empty text"):
        build(["a", "", ""])
    with pytest.raises(CatalogueError, match="empty"):
        build([])
    with pytest.raises(CatalogueError, match="1 of 1"):
        build([""])


def test_refusals_are_counted_beyond_the_list():
    catalogue = build(["a"] * 1500 + [""] * 1400)
    assert (catalogue.report.num_refused, len(catalogue.report.refused)) == (1400, 1000)
    assert (catalogue.report.num_merged, len(catalogue.report.merged)) == (1499, 1000)


@pytest.mark.parametrize(
    "options", [{"max_tokens": 1}, {"max_tokens": 256}, {"max_chars": 0}, {"max_chars": 10**6}]
)
def test_bad_options(options):
    with pytest.raises(InputError):
        build(["a"], **options)


@pytest.mark.parametrize("rows", ["abc", b"abc", {"text": "a"}])
def test_one_row_instead_of_a_list(rows):
    with pytest.raises(InputError, match="a list of rows"):
        build(rows)


@pytest.mark.parametrize("end", ["", "ab"])
def test_end_must_be_one_token(end):
    with pytest.raises(CatalogueError, match="expected one"):
        build(["a"], end=end)


def test_tokens_outside_the_vocabulary():
    with pytest.raises(CatalogueError, match="expected 0 to 99"):
        build(["zzz"], ByteTokenizer(vocab_size=100))


def test_check_tokenizer():
    catalogue = build(["a"])
    catalogue.check_tokenizer("byte" * 16)
    with pytest.raises(CatalogueError, match="rebuild"):
        catalogue.check_tokenizer("f" * 64)


@pytest.mark.parametrize("entry", [-1, 2, 10**12])
def test_entry_outside(entry):
    with pytest.raises(InputError, match="not in the catalogue"):
        build(["a", "b"]).text(entry)


def test_build_from_file_reports_progress_and_name(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("id,text,bid\n" + "".join(f"{i},text {i % 30000},{i + 1}\n" for i in range(40000)))
    seen = []
    catalogue = Catalogue.build_from_file(path, ByteTokenizer(), progress=lambda *now: seen.append(now))
    assert len(catalogue) == 30000 and catalogue.report.num_merged == 10000
    assert [done for done, _ in seen] == [16384, 32768, 40000] and seen[-1][1] == 40000
    assert all(total > 0 for _, total in seen)
    entry = next(e for e in range(30000) if catalogue.text(e) == "text 5")
    assert catalogue.ids(entry) == ["5", "30005"] and catalogue.bid(entry) == 30006
    path.write_text("id,text\n1,\n")
    with pytest.raises(CatalogueError, match=r"rows\.csv"):
        Catalogue.build_from_file(path, ByteTokenizer())


text = st.text(st.sampled_from("ab é\t\x00"), max_size=6)
row = st.one_of(
    text,
    st.tuples(st.sampled_from("xyz"), text),
    st.fixed_dictionaries({"text": text}, optional={"bid": st.floats(1, 9), "id": text, "n": st.just(1)}),
)


def text_of(given):
    return given if isinstance(given, str) else given[1] if isinstance(given, tuple) else given["text"]


@given(st.lists(row, max_size=25), st.sampled_from([256, 70000]))
@settings(max_examples=150, deadline=None)
def test_laws(tmp_path_factory, rows, vocab_size):
    """Entries are the distinct normalised texts; rows are counted once; saving changes nothing."""
    wanted = set()
    for given_row in rows:
        try:
            wanted.add(normalise(text_of(given_row)))
        except CatalogueError:
            continue
    try:
        catalogue = build(rows, ByteTokenizer(vocab_size))
    except CatalogueError:
        return
    report = catalogue.report
    assert {catalogue.text(e) for e in range(len(catalogue))} == wanted and len(catalogue) == len(wanted)
    assert sum(len(catalogue.rows(e)) for e in range(len(catalogue))) == len(rows) - report.num_refused
    assert report.num_rows == len(rows) == len(catalogue) + report.num_merged + report.num_refused
    sequences = [catalogue.trie.tokens(e).tolist() for e in range(len(catalogue))]
    assert sequences == sorted(sequences)
    path = tmp_path_factory.mktemp("laws") / "c.adtrie"
    catalogue.save(path)
    opened = Catalogue.open(path)
    assert content(opened) == content(catalogue) and opened.info == catalogue.info
    assert np.array_equal(opened.trie.edges, catalogue.trie.edges)
