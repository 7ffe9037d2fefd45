"""With the tokenizer of smollm2-135m (skipped when it is not cached): the 12,613 shipped keywords."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest

from adtrie.catalogue import Catalogue
from adtrie.models import open_checkpoint
from adtrie.models.alias import cached_path

ALIAS = "smollm2-135m"
pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def tokenizer():
    if not cached_path(ALIAS).exists():
        pytest.skip(f"{ALIAS} is not cached; run `adtrie demo` once")
    with open_checkpoint(ALIAS) as checkpoint:
        return checkpoint.tokenizer


def test_all_keywords_round_trip(tokenizer, tmp_path):
    keywords = resources.files("adtrie") / "data" / "pricerunner" / "keywords.txt.gz"
    with resources.as_file(keywords) as path:
        catalogue = Catalogue.build_from_file(path, tokenizer)
    report = catalogue.report
    assert (report.num_rows, report.num_merged, report.num_refused) == (12613, 0, 0)
    assert catalogue.trie_bytes <= 26 * len(catalogue)
    catalogue.save(tmp_path / "c.adtrie")
    opened = Catalogue.open(tmp_path / "c.adtrie")
    opened.check_tokenizer(tokenizer.fingerprint)
    for entry in range(0, len(opened), 97):
        wanted = [*tokenizer.encode(" " + opened.text(entry)), opened.info.end_token]
        assert opened.trie.tokens(entry).tolist() == wanted
        assert opened.ids(entry) == [opened.text(entry)]


def test_control_token_text_is_text(tokenizer):
    catalogue = Catalogue.build(["<|im_end|>", "<|im_start|>user", "red"], tokenizer)
    control = [int(tokenizer.encode_template(text)[-1]) for text in ("<|im_end|>", "<|im_start|>")]
    tokens = np.concatenate([catalogue.trie.tokens(entry) for entry in range(3)])
    assert not np.isin(tokens, control).any()
