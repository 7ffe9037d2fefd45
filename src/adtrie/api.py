"""The Python face: a loaded model that names catalogue entries for a query.

Puts tokenizer, prompt, engine and search together; holds no algorithm of its own.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal, Self, get_args, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.catalogue import Catalogue, EntrySet, Neighbours, Prior, Selection, Trie
from adtrie.config import ModelSpec
from adtrie.creative import Creative, Drafts, Writer
from adtrie.engine import Engine, Session
from adtrie.engine.engine import Activations
from adtrie.engine.pooling import mean_hidden_states
from adtrie.engine.weights import WeightFormat
from adtrie.errors import InputError
from adtrie.models import AdaptedCheckpoint, Checkpoint, Tokenizer, open_tuned
from adtrie.prompt import CREATE_TEMPLATE, DEFAULT_TEMPLATE, PromptTemplate, normalise_query
from adtrie.search.enumerate import score_entries
from adtrie.search.exact import exact
from adtrie.search.generate import Beams
from adtrie.search.sampling import Sampling
from adtrie.search.scorer import MAX_K, MAX_WIDTH, Scorer, SearchResult, check_count
from adtrie.search.seeds import check_seeds
from adtrie.search.stepwise import stepwise
from adtrie.search.text_rules import TextRules
from adtrie.search.verify import verify
from adtrie.search.whole import MAX_ENTRIES, whole_set

Mode = Literal["exact", "verify", "stepwise"]
Score = Literal["raw", "renormalised"]
MAX_REQUEST_ROWS = 65_536  # most rows `exact` may feed for one request
SESSION_ROWS, LARGE_SESSION_ROWS = 16_384, 131_072  # address space of a session; the larger for large budgets
MAX_SESSIONS = 4  # each holds the keys and values of one template's prefix


@dataclass(frozen=True)
class TargetOptions:
    """How a catalogue is searched; InputError at once for a value out of range.

    `width` is the beam of verify and stepwise, never below k. `max_rows` bounds the rows of exact in total,
    of verify per forward.
    """

    k: int = 10
    mode: Mode = "exact"
    score: Score = "raw"
    width: int = 10
    max_rows: int = 4_096

    def __post_init__(self) -> None:
        check_count("k", self.k, MAX_K)
        check_count("width", self.width, MAX_WIDTH)
        check_count("max_rows", self.max_rows, MAX_REQUEST_ROWS)
        for name, word, words in (
            ("mode", self.mode, get_args(Mode)),
            ("score", self.score, get_args(Score)),
        ):
            if word not in words:
                raise InputError(f"{name}: expected one of {', '.join(words)}, got {word!r:.60}")
        if self.mode != "exact" and self.k > MAX_WIDTH:
            raise InputError(
                f"k: mode {self.mode} keeps at most {MAX_WIDTH} entries, got {self.k}; use mode exact"
            )

    @property
    def beam_width(self) -> int:
        """Hypotheses kept per step."""
        return max(self.k, self.width)

    @property
    def session_rows(self) -> int:
        """Rows a session for these options has room for."""
        return SESSION_ROWS if 2 * self.max_rows <= SESSION_ROWS else LARGE_SESSION_ROWS


@dataclass(frozen=True)
class Hit:
    """One catalogue entry: first id, text, score, all ids.

    The score is the sum of natural log-probabilities, plus the entry's constant if a prior was given. Of a
    selection the ids are those of the rows in it.
    """

    id: str
    text: str
    score: float
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Hits(Sequence[Hit]):
    """Entries in descending score. `gap` 0.0: proven that no other entry scores higher; inf: nothing proven.

    `forwards` counts passes of the model, the prompt's too; `rows` the catalogue tokens fed; `ms` wall time.
    """

    query: str
    hits: tuple[Hit, ...]
    gap: float
    forwards: int
    rows: int
    ms: float

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...
    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)


class Model:
    """A checkpoint on an engine. One request at a time: a lock orders callers from several threads.

    `Catalogue.build` takes a model as its tokenizer: `fingerprint`, `vocab_size`, `encode` and `encode_batch`
    are those of the tokenizer; the identity of the weights is `checkpoint.fingerprint`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | AdaptedCheckpoint,
        engine: Engine,
        template: PromptTemplate | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.engine = engine
        # Of requests that bring none: an adapter's own, whether it was tuned to name or to write.
        self.template = template or DEFAULT_TEMPLATE
        self.create_template = template or CREATE_TEMPLATE
        self._sessions: OrderedDict[tuple[PromptTemplate, Score, int], Session] = OrderedDict()
        self._lock = Lock()

    @property
    def name(self) -> str:
        """Path or alias the model was loaded from."""
        return self.checkpoint.name

    @property
    def spec(self) -> ModelSpec:
        """Shape of the model."""
        return self.checkpoint.spec

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the checkpoint."""
        return self.checkpoint.tokenizer

    @property
    def fingerprint(self) -> str:
        """sha256 hex of the tokenizer, which a catalogue is bound to."""
        return self.tokenizer.fingerprint

    @property
    def vocab_size(self) -> int:
        """Ids of the tokenizer."""
        return self.tokenizer.vocab_size

    def encode(self, text: str) -> NDArray[np.int32]:
        """Ids int32[n] of plain text; never a control token."""
        return self.tokenizer.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Flat ids int32[sum] and offsets int64[n+1] of many texts."""
        return self.tokenizer.encode_batch(texts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def target(
        self,
        query: str,
        catalogue: Catalogue,
        k: int = 10,
        mode: Mode = "exact",
        score: Score = "raw",
        *,
        width: int = 10,
        max_rows: int = 4_096,
        template: PromptTemplate | None = None,
        prior: Prior | None = None,
        where: str | EntrySet | None = None,
        allow_ids: Iterable[str | int] | None = None,
        deny_ids: Iterable[str | int] | None = None,
        seeds: Neighbours | ArrayLike | None = None,
    ) -> Hits:
        """The `k` best entries for `query` (all of them if the catalogue is smaller); see `TargetOptions`.

        `prior` adds a constant to the score of each entry; `gap` proves the order of these sums.
        `where`, `allow_ids`, `deny_ids` bound what may be returned (`Catalogue.select`, which see for many
        requests with one selection). `seeds`: entries by number, or the neighbours of each query, scored
        besides what the search finds: exact finds the same in fewer rows, a beam cannot lose them. A fusion
        of the neighbours adds what it says to each entry's score, as a prior does. Raises
        InputError for a query, option or filter that is wrong, CatalogueError for a catalogue of another
        tokenizer, CapacityError for a prompt above the context.
        """
        options = TargetOptions(k, mode, score, width, max_rows)
        bounded = where is not None or allow_ids is not None or deny_ids is not None
        selection = catalogue.select(where, allow_ids=allow_ids, deny_ids=deny_ids) if bounded else None
        return self.answer(query, catalogue, options, template, prior, selection, seeds)

    def answer(
        self,
        query: str,
        catalogue: Catalogue,
        options: TargetOptions,
        template: PromptTemplate | None = None,
        prior: Prior | None = None,
        selection: Selection | None = None,
        seeds: Neighbours | ArrayLike | None = None,
        observe: Callable[[Scorer], Scorer] | None = None,
    ) -> Hits:
        """`target` with its options checked before; `selection` is one of the catalogue's `select`.

        `observe` is given the engine's scorer and returns the one to search with: `search.recording`.
        """
        text = normalise_query(query)
        template = template or self.template
        catalogue.check_tokenizer(self.tokenizer.fingerprint)
        if selection is not None and selection.whole is not catalogue.trie:
            raise InputError("selection: made for another catalogue; make it with select() of this one")
        if selection is None:
            selection = catalogue.everything
        with self._lock:
            session = self._session(template, options)
            started = time.perf_counter()
            prompt = template.query_tokens(text, self.tokenizer)
            named = seeds.of(text) if isinstance(seeds, Neighbours) else seeds
            if isinstance(seeds, Neighbours) and (bonus := seeds.bonus(text)) is not None:
                prior = Prior(bonus if prior is None else prior.values + bonus)
            scorer = session if observe is None else observe(session)
            result = self._search(scorer, catalogue.trie, prompt, options, prior, selection, named)
            hits = _hits(catalogue, result, selection)
            ms = (time.perf_counter() - started) * 1e3
        return Hits(query, hits, float(result.gap), result.forwards, result.rows, ms)

    def unconditional(
        self,
        catalogue: Catalogue,
        template: PromptTemplate | None = None,
        advance: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float64]:
        """Raw log-probability of each entry after the template without a query, float64[N] in entry order.

        What `Prior.from_unconditional` takes. Feeds every node of the trie, so a large catalogue takes
        minutes: `advance(done, N)` is called on the way. Raises CatalogueError for another tokenizer's
        catalogue, CapacityError above the context.
        """
        catalogue.check_tokenizer(self.tokenizer.fingerprint)
        tokens = (template or self.template).tokens_without_query(self.tokenizer)
        if tokens.size == 0:
            raise InputError("template: it has no text beside the query; entries need something to follow")
        # A session of its own: other requests go on between its forwards.
        session = self.engine.session(tokens[:-1], max_rows=SESSION_ROWS)

        def restart() -> Session:
            session.reset()
            return session

        return score_entries(restart, catalogue.trie, tokens[-1:], progress=advance)

    def embed(
        self, texts: Sequence[str], advance: Callable[[int, int], None] | None = None
    ) -> NDArray[np.float32]:
        """A vector of unit length for each text, float32[N, H]: its mean final hidden state, zeros if empty.

        What `balanced_codes` clusters. `advance(done, N)` is called on the way.
        """
        tokens, offsets = self.tokenizer.encode_batch(texts)
        return mean_hidden_states(self.engine, tokens, offsets, advance)

    def create(
        self,
        facts: str,
        rules: TextRules | None = None,
        sampling: Sampling | None = None,
        *,
        beams: int | Beams = 1,
        template: PromptTemplate | None = None,
        drafts: Drafts | None = None,
        draft: bool = True,
    ) -> Creative:
        """Ad text from `facts` under `rules` (default: 64 tokens, one line), greedy by default.

        `template`: by default that of the adapter, or CREATE_TEMPLATE. `draft` guesses ahead, also from
        `drafts`: the same text in fewer forwards; a beam (a width, or Beams with what ranks its texts) is not
        drafted.
        Raises InputError for bad facts and for rules that contradict (named), CapacityError above context.
        """
        kept = beams if isinstance(beams, Beams) else Beams(beams)
        writer = Writer(rules or TextRules(), sampling or Sampling(), kept)
        template = template or self.create_template
        text = normalise_query(facts, "facts")
        with self._lock:
            prompt = template.query_tokens(text, self.tokenizer)
            session = self._session(template, TargetOptions(max_rows=writer.num_rows(prompt.size) // 2 + 1))
            writer.check_context(session.prefix_rows + prompt.size, self.spec.max_positions)
            cost = self.engine.latency() if draft and kept.width == 1 else None
            tables = drafts.tables(text) if drafts else ()
            return writer.write(session, self.tokenizer, prompt, text, tables, cost)

    def warm(self, options: TargetOptions | None = None, template: PromptTemplate | None = None) -> None:
        """Computes the shared prefix and the latency table now, so that the first request does not wait."""
        with self._lock:
            self._session(template or self.template, options or TargetOptions())
            self.engine.latency()

    def close(self) -> None:
        """Drops the cached prefixes and closes the checkpoint; the model cannot be used afterwards."""
        with self._lock:
            self._sessions.clear()
            self.checkpoint.close()

    def _session(self, template: PromptTemplate, options: TargetOptions) -> Session:
        """A session at the start of a request, its prefix computed; above MAX_SESSIONS the oldest goes."""
        key = (template, options.score, options.session_rows)
        session = self._sessions.get(key)
        if session is None:
            prefix = template.prefix_tokens(self.tokenizer)
            session = self.engine.session(prefix, options.score, options.session_rows)
            self._sessions[key] = session
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(key)
        session.reset()
        return session

    def _search(
        self,
        scorer: Scorer,
        trie: Trie,
        prompt: NDArray[np.int32],
        options: TargetOptions,
        prior: Prior | None = None,
        selection: Selection | None = None,
        seeds: ArrayLike | None = None,
    ) -> SearchResult:
        k, width, max_rows = options.k, options.beam_width, options.max_rows
        if selection is not None:
            if prior is not None:
                raise InputError("prior: cannot be combined with a selection yet; give one of them")
            if not len(selection):
                return SearchResult(np.zeros(0, np.int64), np.zeros(0), 0.0, 0, 0)
            trie, k = selection.trie, min(k, len(selection))
            named = check_seeds(seeds, trie.num_entries)
            seeds = named[selection.entries.contains(named)]
        if options.mode == "stepwise":
            return stepwise(scorer, trie, prompt, k, width, seeds, prior=prior)
        cost = self.engine.latency()
        if options.mode == "verify":
            return verify(scorer, trie, prompt, k, width, cost, max_rows, seeds, prior=prior)
        if selection is not None and len(selection) <= MAX_ENTRIES:
            whole = whole_set(trie, selection.entries, prompt.size, k, cost, max_rows)
            seeds = seeds if whole is None else whole
        return exact(scorer, trie, prompt, k, cost, max_rows, seeds, prior=prior)


def load_model(
    name: str | Path,
    *,
    adapter: str | Path | None = None,
    weights: WeightFormat = "auto",
    activations: Activations = "int8",
    threads: int | None = None,
    isa: str | None = None,
) -> Model:
    """Model of an alias, a packed or Hugging Face folder or a .gguf file, ready to answer.

    `adapter`: a shipped one by name or a folder of peft's format, merged into the weights; its template
    becomes the model's. `weights` auto keeps the file's own type; `activations` float32 is the reference.
    Raises ModelError, FormatError or TokenizerError, naming the file and field.
    """
    checkpoint, text = open_tuned(name, adapter)
    try:
        template = None if text is None else PromptTemplate.from_text(text, f"template of {name}")
        engine = Engine(checkpoint, weights=weights, activations=activations, threads=threads, isa=isa)
    except BaseException:
        checkpoint.close()
        raise
    return Model(checkpoint, engine, template)


def _hits(catalogue: Catalogue, result: SearchResult, selection: Selection | None) -> tuple[Hit, ...]:
    hits = []
    for entry, score in zip(result.entries.tolist(), result.scores.tolist(), strict=True):
        ids = tuple(catalogue.ids(entry, selection))
        hits.append(Hit(id=ids[0], text=catalogue.text(entry), score=score, ids=ids))
    return tuple(hits)
