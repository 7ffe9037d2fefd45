"""Filters against plain Python over the rows; what cannot be read is one InputError with its position."""

from __future__ import annotations

import json
import operator
from typing import Any

import pytest
from byte_tokenizer import ByteTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from adtrie.catalogue import Catalogue, EligibleTrie, EntrySet
from adtrie.catalogue.columns import NUMBER, read_columns
from adtrie.catalogue.filter_syntax import MAX_CHARS, MAX_DEPTH, MAX_TESTS, parse
from adtrie.catalogue.filters import rows_where
from adtrie.catalogue.selection import Selection
from adtrie.catalogue.strings import StringTable, pack_strings
from adtrie.errors import FormatError, InputError

ROWS: list[dict[str, Any]] = [
    {"country": "DE", "adult": True, "price": 5, "cat": ["IAB1", "IAB25-3"]},
    {"country": "FR", "adult": False, "price": 12.5, "cat": ["IAB2"]},
    {"country": "de", "adult": "yes", "price": "7.0", "brand name": 'a "b" c'},
    {"country": "OR", "adult": "No", "price": "cheap", "since": "2024-03-01"},
    {},
    {"country": None, "adult": 0, "price": True, "cat": [], "owner": {"id": 3}, "zip": "01234"},
]


def table(rows: list[dict[str, Any]]) -> StringTable:
    block, lengths = pack_strings([json.dumps(row) if row else "" for row in rows])
    return StringTable.of([block], [lengths])


def passing(source: str, rows: list[dict[str, Any]] = ROWS) -> list[int]:
    return rows_where(parse(source), read_columns(table(rows)), len(rows)).members().tolist()


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("country = DE", [0]),
        ("country != DE", [1, 2, 3, 4, 5]),
        ("not country = DE", [1, 2, 3, 4, 5]),
        ("country in [DE, 'de', OR]", [0, 2, 3]),
        ("country not in [DE, FR]", [2, 3, 4, 5]),
        ("country in []", []),
        ("has country", [0, 1, 2, 3]),
        ("has cat", [0, 1, 5]),
        ("has owner", [5]),
        ("owner", []),
        ("adult", [0, 2]),
        ("not adult", [1, 3, 4, 5]),
        ("adult = true", [0]),
        ("adult = false", [1]),
        ("price < 10", [0, 2]),
        ("price >= 5 and price <= 7", [0, 2]),
        ("price = 5", [0]),
        ("price = 7", [2]),
        ("price in [5.0, 12.5, cheap]", [0, 1, 3]),
        ("price = '5'", []),
        ("price > -1e3", [0, 1, 2]),
        ("since >= 2024-01-01 and since < '2025'", [3]),
        ("zip = 1234", [5]),
        ("zip = '1234'", []),
        ("cat = IAB25-3", [0]),
        ("not cat in [IAB1, IAB2]", [2, 3, 4, 5]),
        ("'brand name' = 'a \"b\" c'", [2]),
        ('"brand name" = "a \\"b\\" c"', [2]),
        ("country = DE and not adult", []),
        ("country = FR or country = DE and adult", [0, 1]),
        ("(country = FR or country = DE) AND NOT (adult)", [1]),
        ("  \n country\t=FR ", [1]),
        ("not not has zip", [5]),
    ],
)
def test_examples(source: str, wanted: list[int]) -> None:
    assert passing(source) == wanted


words = st.sampled_from(["a", "B", "x-1", "7", "07", "7.0", "no", "true", "é"])
scalars = st.one_of(words, st.integers(-9, 9), st.sampled_from([0.5, 7.0]), st.booleans(), st.none())
names = st.sampled_from(["p", "q.r"])
attributes = st.dictionaries(names, st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=2)
ORDERINGS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def values_of(row: dict[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    found = value if isinstance(value, list) else [value]
    return [str(v).lower() if isinstance(v, bool) else v for v in found if v is not None]


def as_number(value: Any) -> float | None:
    if isinstance(value, str):
        return float(value) if NUMBER.fullmatch(value) else None
    return float(value)


def holds(row: dict[str, Any], name: str, sign: str, literal: str | float) -> bool:
    """One test of one row, as the documentation says it."""
    compare = ORDERINGS.get(sign, operator.eq)
    if isinstance(literal, str):
        return any(compare(v, literal) for v in values_of(row, name) if isinstance(v, str))
    numbers = [as_number(v) for v in values_of(row, name)]
    return any(compare(n, literal) for n in numbers if n is not None)


@st.composite
def filters(draw: st.DrawFn, depth: int = 3) -> tuple[str, Any]:
    """A filter as text, and the same as a function of a row."""
    kind = draw(st.sampled_from(["and", "or", "not", "sign", "sign", "in", "has", "name"]))
    if depth and kind in ("and", "or"):
        (a, f), (b, g) = draw(filters(depth=depth - 1)), draw(filters(depth=depth - 1))
        return f"({a}) {kind} ({b})", (
            (lambda row: f(row) and g(row)) if kind == "and" else (lambda row: f(row) or g(row))
        )
    if depth and kind == "not":
        a, f = draw(filters(depth=depth - 1))
        return f"not ({a})", lambda row: not f(row)
    name = draw(names)
    if kind == "has":
        return f"has {name}", lambda row: row.get(name) is not None
    if kind == "name":
        no = ("", "0", "false", "no", "off")
        return name, lambda row: any(
            v.lower() not in no if isinstance(v, str) else v != 0 for v in values_of(row, name)
        )
    chosen = draw(st.lists(words, min_size=0 if kind == "in" else 1, max_size=3))
    literals = [float(word) if NUMBER.fullmatch(word) else word for word in chosen]
    if kind == "in":
        return f"{name} in [{', '.join(chosen)}]", lambda row: any(holds(row, name, "=", v) for v in literals)
    sign = draw(st.sampled_from(["=", *ORDERINGS]))
    return f"{name} {sign} {chosen[0]}", lambda row: holds(row, name, sign, literals[0])


@given(st.lists(attributes, min_size=1, max_size=8), filters())
@settings(max_examples=200, deadline=None)
def test_equals_plain_python(rows: list[dict[str, Any]], pair: tuple[str, Any]) -> None:
    source, wanted = pair
    every = [*rows, {"p": "a", "q.r": "a"}]  # both attributes exist
    assert passing(source, every) == [i for i, row in enumerate(every) if wanted(row)]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "expected the name of an attribute at character 1, got the end"),
        ("country =", "expected a value at character 10, got the end"),
        ("country = DE adult", "expected 'and', 'or' or the end at character 14, got 'adult'"),
        ("country = (DE)", "expected a value at character 11, got '\\('"),
        ("(country = DE", "expected 'and', 'or' or '\\)' at character 14"),
        ("country in DE", "expected '\\[' at character 12"),
        ("country in [DE", "expected ',' or '\\]' at character 15"),
        ("country in [DE,]", "expected a value at character 16"),
        ("country in [,]", "expected a value at character 13"),
        ("country == DE", "expected a value at character 10, got '='"),
        ("and", "expected the name of an attribute at character 1, got 'and'"),
        ("country = 'DE", "a text without its closing quote at character 11"),
        ("country = DE ! adult", "'!' at character 14"),
        ("county = DE", "no attribute 'county' at character 1; the closest is 'country'"),
        ("country = DE or has adlt", "no attribute 'adlt' at character 21; the closest is 'adult'"),
        ("\0", "no attribute"),
        ("(" * (MAX_DEPTH + 1) + "adult", f"more than {MAX_DEPTH} levels"),
        ("not " * 100_000 + "adult", "characters, expected at most"),
        ("not " * 1_000 + "adult", f"more than {MAX_DEPTH} levels"),
        (" or ".join(["adult"] * (MAX_TESTS + 1)), f"more than {MAX_TESTS} tests"),
        ("x" * (MAX_CHARS + 1), "expected at most"),
    ],
)
def test_what_cannot_be_read(source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        passing(source)


def test_many_values_and_the_limits_themselves() -> None:
    assert passing("country in [" + ", ".join(f"x{i}" for i in range(9_000)) + ", FR]") == [1]
    assert passing("(" * (MAX_DEPTH - 1) + "adult" + ")" * (MAX_DEPTH - 1)) == [0, 2]
    assert passing(" or ".join(["adult"] * MAX_TESTS)) == [0, 2]


@given(st.text(alphabet=st.sampled_from("aAnNdDoOrRtTiInN 019.-=!<>()[],'\"\\\n\0é"), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_filter_or_one_clear_error(source: str) -> None:
    try:
        passing(source)
    except InputError as error:
        assert str(error).startswith("where: ")


@pytest.mark.parametrize("where", [3, b"adult", ["adult"], {"adult": 1}])
def test_a_filter_is_text_or_a_set(where: Any) -> None:
    with pytest.raises(InputError, match="expected a filter as text"):
        build(ITEMS).select(where)


def test_hostile_attributes() -> None:
    huge = table([{"n": 10**300, "m": [[[1]]], "x" * 5_000: 1}, {"n": -(10**300)}])
    columns = read_columns(huge)
    assert rows_where(parse("n > 1e299"), columns, 2).members().tolist() == [0]
    assert rows_where(parse("m"), columns, 2).members().tolist() == []
    with pytest.raises(InputError, match="closest") as caught:
        rows_where(parse("y" * 5_000), columns, 2)
    assert len(str(caught.value)) < 400
    for raw in ("{", "[]", "3", "[[1,2]]", "[" * 100_000, "\x00", "null"):
        block, lengths = pack_strings([raw])
        with pytest.raises(FormatError, match="attributes of row 0 are damaged"):
            read_columns(StringTable.of([block], [lengths]))


ITEMS: list[dict[str, Any]] = [
    {"text": "red shoes", "id": "a1", "country": "DE"},
    {"text": "red shoes", "id": "a2", "country": "FR"},
    {"text": "blue shoes", "id": "b", "country": "FR", "bid": 2},
    {"text": "green hat", "id": 7},
]


def build(rows: list[Any]) -> Catalogue:
    return Catalogue.build(rows, ByteTokenizer())


def answer(catalogue: Catalogue, selection: Selection) -> list[tuple[str, list[str]]]:
    entries = selection.entries.members().tolist()
    return [(catalogue.text(entry), catalogue.ids(entry, selection)) for entry in entries]


@pytest.fixture(params=["built", "opened"])
def catalogue(request: pytest.FixtureRequest, tmp_path: Any) -> Catalogue:
    made = build(ITEMS)
    if request.param == "opened":
        made.save(tmp_path / "c")
        made = Catalogue.open(tmp_path / "c")
    return made


def test_an_entry_is_eligible_if_any_of_its_rows_is(catalogue: Catalogue) -> None:
    """And only the ids of those rows are returned."""
    assert answer(catalogue, catalogue.select("country = FR")) == [
        ("blue shoes", ["b"]),
        ("red shoes", ["a2"]),
    ]
    assert answer(catalogue, catalogue.select("not has country")) == [("green hat", ["7"])]
    assert answer(catalogue, catalogue.select(deny_ids=["a1", "b"])) == [
        ("green hat", ["7"]),
        ("red shoes", ["a2"]),
    ]
    assert len(catalogue.select("country = UK")) == 0


def test_ids_are_allowed_denied_and_counted(catalogue: Catalogue) -> None:
    selection = catalogue.select(allow_ids=[7, "a1", "zz", "zz", "\ud800"], deny_ids=["a1", "yy"])
    assert answer(catalogue, selection) == [("green hat", ["7"])]
    assert selection.num_unknown_ids == 3
    assert len(catalogue.select(allow_ids=[])) == 0
    assert len(catalogue.select(deny_ids=iter(()))) == 3


def test_filter_set_and_ids_are_combined(catalogue: Catalogue) -> None:
    both = catalogue.select("country = FR", deny_ids=["b"])
    assert answer(catalogue, both) == [("red shoes", ["a2"])]
    live = EntrySet.of_entries([1, 2], 3)
    assert [text for text, _ in answer(catalogue, catalogue.select(live))] == ["green hat", "red shoes"]
    assert answer(catalogue, catalogue.select(live, deny_ids=["a2"]))[1] == ("red shoes", ["a1"])
    with pytest.raises(InputError, match="over 3 entries, got one over 9"):
        catalogue.select(EntrySet.every(9))


def test_what_a_selection_searches(catalogue: Catalogue) -> None:
    assert catalogue.select().trie is catalogue.trie
    assert isinstance(catalogue.select("country = FR").trie, EligibleTrie)
    with pytest.raises(InputError, match="the set is empty"):
        _ = catalogue.select(allow_ids=[]).trie


def test_texts_are_ids_where_there_are_no_others() -> None:
    catalogue = build(["red", "blue", "red", "green"])
    selection = catalogue.select(deny_ids=["red", "pink"])
    assert answer(catalogue, selection) == [("blue", ["blue"]), ("green", ["green"])]
    assert selection.num_unknown_ids == 1
    with pytest.raises(InputError, match="the catalogue has no attributes"):
        catalogue.select("adult")


@pytest.mark.parametrize("ids", ["a1", b"a1", 3, [None], [1.5], [True], [["a1"]], [1 << 300]])
def test_lists_of_ids(ids: Any) -> None:
    for name in ("allow_ids", "deny_ids"):
        with pytest.raises(InputError, match=name):
            build(ITEMS).select(**{name: ids})


rows = st.lists(
    st.fixed_dictionaries(
        {"text": st.sampled_from(["a", "b", "ab", "c d"]), "id": st.integers(0, 5)},
        optional={"country": st.sampled_from(["DE", "FR"]), "price": st.integers(0, 3)},
    ),
    min_size=1,
    max_size=9,
)


@given(rows, st.sets(st.integers(0, 6)), st.sets(st.integers(0, 6)))
@settings(max_examples=100, deadline=None)
def test_equals_going_through_the_rows(rows: list[dict[str, Any]], allow: set[int], deny: set[int]) -> None:
    rows = [*rows, {"text": "z", "id": 9, "country": "DE", "price": 1}]
    catalogue = build(rows)
    selection = catalogue.select("country = DE or price >= 2", allow_ids=allow, deny_ids=deny)
    kept = [
        row
        for row in rows
        if (row.get("country") == "DE" or row.get("price", 0) >= 2)
        and row["id"] in allow
        and row["id"] not in deny
    ]
    wanted = {
        text: list(dict.fromkeys(str(row["id"]) for row in kept if row["text"] == text))
        for text in sorted({row["text"] for row in kept})
    }
    assert dict(answer(catalogue, selection)) == wanted
    ids = {row["id"] for row in rows}
    assert selection.num_unknown_ids == len(allow - ids) + len(deny - ids)


def test_a_hundred_thousand_rows() -> None:
    texts = [{"n": i, "s": f"v{i % 1000}", "even": i % 2 == 0} if i % 10 else {} for i in range(100_000)]
    columns = read_columns(table(texts))
    found = rows_where(parse("even and n < 50000 and s in [v12, v14, v11]"), columns, 100_000).members()
    assert found.tolist() == [i for i in range(50_000) if i % 1000 in (12, 14) and i % 10]
