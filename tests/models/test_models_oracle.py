"""Agreement with transformers and gguf on real strings and the real file; needs the [oracle] extra."""

from __future__ import annotations

import gzip
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adtrie.config import QuantizedMatrix
from adtrie.models import Checkpoint, open_checkpoint
from adtrie.models.alias import cached_path
from adtrie.models.ggml_blocks import BLOCK_TYPES, decode_blocks

STRINGS = Path(__file__).parents[3] / "shared" / "data" / "scale_vocab" / "real_strings.tsv.gz"
ALIAS = "smollm2-135m"

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    if not cached_path(ALIAS).exists():
        pytest.skip(f"{ALIAS} is not cached; 'adtrie demo' fetches it")
    return open_checkpoint(ALIAS)


@pytest.fixture(scope="module")
def reference() -> Any:
    """The transformers tokenizer of the same GGUF file.

    transformers' GGUF conversion splits as GPT-2 does. The model's own rule isolates digits first, which
    differs for two blanks before a digit; `digits_first` puts that rule in and doubles some blanks.
    """
    transformers = pytest.importorskip("transformers", reason="needs the [oracle] extra")
    pytest.importorskip("gguf", reason="needs the [oracle] extra")
    path = cached_path(ALIAS)
    if not path.exists():
        pytest.skip(f"{ALIAS} is not cached; 'adtrie demo' fetches it")
    return transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)


def real_strings(count: int) -> list[str]:
    if not STRINGS.exists():
        pytest.skip(f"{STRINGS} is not there")
    with gzip.open(STRINGS, "rt", encoding="utf-8", newline="\n") as lines:
        texts = [line.rstrip("\n").split("\t", 1)[1] for line in lines]
    return random.Random(0).sample(texts, count)


@pytest.mark.model
@pytest.mark.parametrize("digits_first", [False, True])
def test_ten_thousand_real_strings(checkpoint: Checkpoint, reference: Any, digits_first: bool) -> None:
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    texts = real_strings(10_000)
    backend = reference.backend_tokenizer
    if digits_first:
        backend.pre_tokenizer = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
        texts = [text.replace(" ", "  ") for text in texts[:2000]] + texts[2000:]
    texts += [" " + text for text in texts]
    flat, offsets = checkpoint.tokenizer.encode_batch(texts)
    expected = reference(texts, add_special_tokens=False)["input_ids"]
    for index, ids in enumerate(expected):
        assert flat[offsets[index] : offsets[index + 1]].tolist() == ids, texts[index]


@pytest.mark.model
def test_templates_and_decoding_agree(checkpoint: Checkpoint, reference: Any) -> None:
    text = "<|im_start|>user\nName the product: iphone 8 <|im_end|>\n<|im_start|>assistant\n"
    ids = checkpoint.tokenizer.encode_template(text)
    assert ids.tolist() == reference(text, add_special_tokens=False)["input_ids"]
    assert (
        checkpoint.tokenizer.decode(ids) == reference.decode(ids, clean_up_tokenization_spaces=False) == text
    )
    assert checkpoint.tokenizer.eos_token == reference.eos_token_id


@pytest.mark.parametrize("kind", BLOCK_TYPES)
def test_blocks_agree_with_gguf(kind: int) -> None:
    gguf = pytest.importorskip("gguf", reason="needs the [oracle] extra")
    block_type = BLOCK_TYPES[kind]
    raw = np.random.default_rng(kind).integers(0, 256, (200, block_type.num_bytes), dtype=np.uint8)
    if kind == 0:
        raw[:, 3] &= 0x3F  # no NaN: their payload may differ
    with np.errstate(all="ignore"):
        rows = raw.view("<f4") if kind == 0 else raw.view("<f2") if kind == 1 else raw
        expected = gguf.quants.dequantize(rows, gguf.GGMLQuantizationType(kind))
    ours = decode_blocks(raw.tobytes(), block_type)
    np.testing.assert_array_equal(ours, expected.astype(np.float32).reshape(-1))


@pytest.mark.model
def test_real_tensors_agree_with_gguf(checkpoint: Checkpoint) -> None:
    gguf = pytest.importorskip("gguf", reason="needs the [oracle] extra")
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(cached_path(ALIAS)).tensors}
    names = {"embed": "token_embd.weight", "layers.7.down": "blk.7.ffn_down.weight"}
    names |= {"layers.29.v": "blk.29.attn_v.weight", "layers.3.q": "blk.3.attn_q.weight"}
    for ours, theirs in names.items():
        tensor = tensors[theirs]
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if ours.endswith(".q"):  # undo the converter's order, head by head
            expected = expected.reshape(9, 32, 2, 576).transpose(0, 2, 1, 3).reshape(576, 576)
        matrix = checkpoint.matrix(ours)
        assert isinstance(matrix, QuantizedMatrix)
        np.testing.assert_array_equal(matrix.dequantize(), expected)
