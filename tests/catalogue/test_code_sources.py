"""What --codes and --embeddings may name, and files that are not what they claim."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest

from adtrie.catalogue.code_sources import ClusterCodes, ColumnCodes, FileCodes, parse_code_source, texts_of
from adtrie.catalogue.npy_files import read_matrix
from adtrie.catalogue.rows import Refusal, Row
from adtrie.errors import AdtrieError, InputError


def test_sources_are_read():
    assert parse_code_source("kmeans:256,16,16", seed=3) == ClusterCodes((256, 16, 16), 3)
    assert parse_code_source("column:unspsc", separator=".") == ColumnCodes("unspsc", ".")
    source = parse_code_source("codes.npy")
    assert isinstance(source, FileCodes) and source.path.name == "codes.npy"


@pytest.mark.parametrize(
    "text", ["", "kmeans", "kmeans:", "kmeans:1", "kmeans:4,", "kmeans:a", "column:", "x.csv"]
)
def test_other_sources_are_refused(text):
    with pytest.raises(InputError):
        parse_code_source(text)


def test_a_column_may_be_an_attribute_the_id_or_the_text():
    rows = [Row(1, "a", "12", None, '{"code":[3,1]}'), Refusal(2, "bad"), Row(3, "b", "13")]
    table = ColumnCodes("code").table(rows)
    assert [table.of(i) for i in range(3)] == [(3, 1), (), ()] and set(table.reasons) == {1, 2}
    assert ColumnCodes("id").table(rows).of(2) == (1, 3)
    assert ColumnCodes("text").table(rows).of(2) == (1,)


def test_texts_of_rows_that_will_be_refused_are_empty():
    rows = [Row(1, " a  b "), Refusal(2, "bad"), Row(3, "\ud800"), Row(4, "x" * 9000)]
    assert [len(text) for text in texts_of(rows)] == [3, 0, 0, 4000]


def written(path, array, **options):
    np.save(path, array, **options)
    return path


def test_matrices_are_mapped_whatever_their_order(tmp_path):
    wanted = np.arange(6.0).reshape(2, 3)
    path = written(tmp_path / "v.npy", np.asfortranarray(wanted))
    found = read_matrix("--embeddings", path, "f", "numbers")
    assert np.array_equal(found, wanted) and not found.flags.writeable


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros((2, 2), int), np.zeros((0, 2)), np.zeros((2, 2), np.longdouble)]
)
def test_other_shapes_and_kinds_are_refused(tmp_path, array):
    with pytest.raises(InputError, match="expected numbers in N rows"):
        read_matrix("--embeddings", written(tmp_path / "v.npy", array), "f", "numbers")


def test_a_pickled_array_is_never_loaded(tmp_path):
    path = written(tmp_path / "v.npy", np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(AdtrieError, match=r"v\.npy"):
        read_matrix("--codes", path, "iu", "integers")


def test_files_cut_anywhere_and_claims_beyond_the_file_are_refused(tmp_path):
    whole = io.BytesIO()
    np.save(whole, np.arange(12, dtype=np.int32).reshape(3, 4))
    data, path = whole.getvalue(), tmp_path / "v.npy"
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(AdtrieError, match=r"v\.npy"):
            read_matrix("--codes", path, "iu", "integers")
    path.write_bytes(data.replace(b"(3, 4)", b"(9999999999999, 4)"))
    with pytest.raises(AdtrieError, match=r"v\.npy"):
        read_matrix("--codes", path, "iu", "integers")


def test_archives_pipes_and_missing_files_are_refused(tmp_path):
    np.savez(tmp_path / "v.npy", a=np.zeros((2, 2)))
    os.rename(tmp_path / "v.npy.npz", tmp_path / "v.npy")
    os.mkfifo(tmp_path / "pipe.npy")
    for name, reason in (("v.npy", "archive"), ("pipe.npy", "regular"), ("none.npy", "cannot read")):
        with pytest.raises(AdtrieError, match=reason):
            read_matrix("--codes", tmp_path / name, "f", "numbers")
