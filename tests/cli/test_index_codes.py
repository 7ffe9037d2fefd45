"""`adtrie index --codes` end to end on a tiny model, and `target` on what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_model import TEMPLATE, Run

import adtrie
from adtrie.catalogue import Catalogue

ROWS = "id,text,path\n1,red shoe,1.0\n2,red shoes,1.0\n3,blue hat,0.2\n4,green hat,0.1\n"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS)
    return path


def index(run: Run, rows: Path, model_folder: Path, *options: object) -> Catalogue:
    out = rows.with_suffix(".cat")
    result = run("index", rows, out, "--model", model_folder, *options)
    assert result.exit_code == 0, result.stderr
    return Catalogue.open(out)


def test_codes_of_a_column(run: Run, rows: Path, model_folder: Path) -> None:
    catalogue = index(run, rows, model_folder, "--codes", "column:path", "--code-separator", ".")
    assert [catalogue.ids(entry) for entry in range(3)] == [["4"], ["3"], ["1", "2"]]
    result = run(
        "target",
        "-m",
        model_folder,
        "-c",
        rows.with_suffix(".cat"),
        "--prompt-template",
        TEMPLATE,
        "--json",
        "x",
    )
    answer = json.loads(result.stdout)
    assert sorted(name for hit in answer["results"] for name in hit.get("ids", [hit["id"]])) == list("1234")
    assert answer["gap"] == 0.0


def test_clusters_of_given_vectors_in_tokens_of_their_own(run: Run, rows: Path, model_folder: Path) -> None:
    np.save(rows.with_name("v.npy"), np.array([[0.0], [9.0], [0.1], [9.1]], np.float32))
    options = ["--codes", "kmeans:2,2", "--embeddings", rows.with_name("v.npy"), "--code-tokens", "100:104"]
    catalogue = index(run, rows, model_folder, *options)
    codes = {catalogue.ids(e)[0]: catalogue.trie.tokens(e).tolist() for e in range(4)}
    assert codes["1"][0] == codes["3"][0] != codes["2"][0] == codes["4"][0]
    assert all(100 <= token < 104 for code in codes.values() for token in code)
    assert json.loads(catalogue.info.codes)["origin"] == "kmeans:2,2 seed 0"
    again = index(run, rows, model_folder, *options, "--text-tail")
    assert len(again) == 4 and again.trie.length(0) > 3


def test_clusters_of_the_models_own_vectors(run: Run, rows: Path, model_folder: Path) -> None:
    catalogue = index(run, rows, model_folder, "--codes", "kmeans:2")
    assert [len(catalogue.ids(entry)) for entry in range(2)] == [2, 2]


def test_vectors_do_not_depend_on_their_company(model_folder: Path) -> None:
    texts = ["red shoe", "", "a" * 600, *(f"hat {i}" for i in range(300))]
    with adtrie.load_model(model_folder, threads=1) as model:
        vectors = model.embed(texts)
        alone = np.concatenate([model.embed([text]) for text in texts[:5]])
    assert np.array_equal(vectors[:5], alone)
    norms = np.linalg.norm(vectors, axis=1)
    assert norms[1] == 0 and np.allclose(np.delete(norms, 1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--codes", "nonsense"], "--codes"),
        (["--text-tail"], "need --codes"),
        (["--codes", "column:path", "--embeddings", "v.npy"], "only kmeans"),
        (["--codes", "kmeans:2", "--code-separator", "."], "only a column"),
        (["--codes", "column:nowhere"], "no row has a code"),
        (["--codes", "kmeans:2", "--embeddings", "missing.npy"], "cannot read"),
        (["--codes", "column:path", "--code-separator", ".", "--code-tokens", "9"], "FIRST:END"),
        (["--codes", "column:path", "--code-separator", ".", "--code-tokens", "unused"], "set aside"),
    ],
)
def test_what_does_not_fit_is_one_error(
    run: Run, rows: Path, model_folder: Path, options: list[str], reason: str
) -> None:
    result = run("index", rows, rows.with_suffix(".cat"), "--model", model_folder, *options)
    assert result.exit_code == 1
    assert reason in result.stderr.replace("\n", " ")
    assert not rows.with_suffix(".cat").exists()


def test_vectors_of_another_number_of_rows(run: Run, rows: Path, model_folder: Path) -> None:
    np.save(rows.with_name("v.npy"), np.zeros((3, 2), np.float32))
    options = ["--codes", "kmeans:2", "--embeddings", rows.with_name("v.npy")]
    result = run("index", rows, rows.with_suffix(".cat"), "--model", model_folder, *options)
    assert result.exit_code == 1 and "codes for 3 rows" in result.stderr
