"""The text around a query: what stands before it (shared, so its cache is computed once) and after it.

Knows the rules a query must keep and how a template is written; knows no model and no search.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adtrie.catalogue.normalise import normalise
from adtrie.errors import CatalogueError, InputError

PLACEHOLDER = "{query}"
MAX_QUERY_CHARS = 2_000
MAX_TEMPLATE_CHARS = 20_000


class TemplateTokenizer(Protocol):
    """What a template needs of a tokenizer."""

    add_bos: bool

    def encode(self, text: str) -> NDArray[np.int32]: ...

    def encode_template(self, text: str) -> NDArray[np.int32]: ...


@dataclass(frozen=True)
class PromptTemplate:
    """`before` + query + `after`. Control tokens may stand in the template, never in the query.

    One space at the end of `before` is tokenized together with the query, because byte-pair vocabularies
    hold words with their leading space: "Listing: " + "iphone" must give the tokens of "Listing: iphone".
    """

    before: str
    after: str

    @classmethod
    def parse(cls, text: str, option: str = "--prompt-template") -> PromptTemplate:
        """Template of an option's value: the text itself (`\\n` and `\\t` are escapes) or `@FILE`, literal.

        Raises InputError unless exactly one `{query}` stands in it.
        """
        if text.startswith("@"):
            return cls.from_text(_read_template(Path(text[1:]), option), source=text)
        return cls.from_text(text.replace("\\n", "\n").replace("\\t", "\t"), source=option)

    @classmethod
    def from_text(cls, text: str, source: str = "prompt template") -> PromptTemplate:
        """Template split at its one `{query}`; raises InputError for none, several, or a text too long."""
        if len(text) > MAX_TEMPLATE_CHARS:
            raise InputError(
                f"{source}: {len(text)} characters, at most {MAX_TEMPLATE_CHARS} are allowed; "
                "use fewer examples in the template"
            )
        _refuse_surrogates(text, source)
        parts = text.split(PLACEHOLDER)
        if len(parts) != 2:
            raise InputError(
                f"{source}: needs {PLACEHOLDER} exactly once, found it {len(parts) - 1} times; "
                f"write for example 'Listing: {PLACEHOLDER}\\nProduct name:'"
            )
        return cls(*parts)

    @property
    def text(self) -> str:
        """The template as one text with `{query}` in it."""
        return self.before + PLACEHOLDER + self.after

    def prefix_tokens(self, tokenizer: TemplateTokenizer) -> NDArray[np.int32]:
        """Tokens int32[P] before the query: the same for every query."""
        return tokenizer.encode_template(self._shared)

    def query_tokens(self, query: str, tokenizer: TemplateTokenizer) -> NDArray[np.int32]:
        """Tokens int32[T] that follow the prefix for a normalised query, which stays plain text."""
        lead = self.before[len(self._shared) :]
        asked = tokenizer.encode(lead + query)
        return np.concatenate([asked, self._after_tokens(tokenizer)]).astype(np.int32)

    def tokens_without_query(self, tokenizer: TemplateTokenizer) -> NDArray[np.int32]:
        """The prefix and what follows a query, int32[T], with no token of a query between them."""
        return np.concatenate([self.prefix_tokens(tokenizer), self._after_tokens(tokenizer)]).astype(np.int32)

    def _after_tokens(self, tokenizer: TemplateTokenizer) -> NDArray[np.int32]:
        after = tokenizer.encode_template(self.after) if self.after else np.zeros(0, np.int32)
        return after[1:] if tokenizer.add_bos else after  # the sequence has begun in the prefix

    @property
    def _shared(self) -> str:
        return self.before[:-1] if self.before.endswith(" ") else self.before


def normalise_query(query: str, name: str = "query") -> str:
    """Query by the rule of catalogue entries: NFC, white space collapsed, invisible characters removed.

    Raises InputError for a query that is empty, above MAX_QUERY_CHARS characters as given, or holds lone
    surrogates or control characters. The length is checked first: tokenizing 1 MB takes a second.
    """
    if not isinstance(query, str):
        raise InputError(f"{name}: expected a str, got {type(query).__name__}")
    if len(query) > MAX_QUERY_CHARS:
        raise InputError(
            f"{name}: {len(query)} characters, at most {MAX_QUERY_CHARS} are allowed; shorten it "
            f"(it begins {query[:40]!r})"
        )
    try:
        return normalise(query)
    except CatalogueError as error:
        raise InputError(f"{name}: {error}; give readable Unicode text") from None


def _refuse_surrogates(text: str, name: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name}: character {error.start + 1} is a lone surrogate (U+{ord(text[error.start]):04X}), "
            "which is no Unicode text; the input was probably not UTF-8"
        ) from None


def _read_template(path: Path, option: str) -> str:
    limit = 4 * MAX_TEMPLATE_CHARS
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{option}: cannot read {str(path)!r}: {reason}") from None
    if len(data) > limit:
        raise InputError(f"{option}: {path} is above {limit} bytes; use fewer examples in the template")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{option}: {path} is not UTF-8 at byte {error.start}; re-save it as UTF-8"
        ) from None


# Invented products: a real one would be copied, since its name is an entry that the model has just read (R@1
# of plain text with train rows is below 0.1); docs/decisions/0003 has the numbers.
_EXAMPLES = (
    (
        "oxeltron novaphone 7 plus 128gb dual sim unlocked smartphone space grey",
        "Oxeltron NovaPhone 7 Plus 128GB",
    ),
    ("brindal wmk8420w 8kg 1400rpm freestanding washing machine white a+++", "Brindal WMK8420W White"),
    ("kvasir ryx 5 4600 3.9ghz 6 core socket processor boxed", "Kvasir RYX 5 4600 3.9GHz Box"),
)
_ASK = "<|im_start|>user\nListing: "
_ANSWER = "<|im_end|>\n<|im_start|>assistant\nProduct name:"
_DONE = "<|im_end|>\n"
DEFAULT_TEMPLATE = PromptTemplate(
    before="".join(f"{_ASK}{listing}{_ANSWER} {name}{_DONE}" for listing, name in _EXAMPLES) + _ASK,
    after=_ANSWER,
)
# Two invented businesses show the form; an untuned model copies names it has read, so none is real.
_AD_EXAMPLES = (
    (
        "name: Oxeltron NovaPhone 7; kind: smartphone; memory: 128 GB; price: low",
        "The Oxeltron NovaPhone 7 is a smartphone with 128 GB of memory at a low price.",
    ),
    (
        "name: Brindal Bakery; kind: cafe; area: old town; family friendly: yes",
        "Brindal Bakery is a family friendly cafe in the old town.",
    ),
)
_FACTS = "<|im_start|>user\nWrite one sentence of ad text with all these facts. Facts: "
_WRITE = f"{_DONE}<|im_start|>assistant\n"
CREATE_TEMPLATE = PromptTemplate(
    before="".join(f"{_FACTS}{facts}{_WRITE}{text}{_DONE}" for facts, text in _AD_EXAMPLES) + _FACTS,
    after=_WRITE,
)
