"""The Python face: a loaded model that names catalogue entries for a query.

Puts tokenizer, prompt, engine and search together; holds no algorithm of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adtrie.catalogue import Bonus, Catalogue, EntrySet, Neighbours, Selection
from adtrie.concurrency import MAX_CONCURRENCY, Concurrent, ConcurrentWriter, in_order
from adtrie.creative import Creative, Drafts, Writer
from adtrie.engine import Engine, Session
from adtrie.engine.pooling import mean_hidden_states
from adtrie.engine.weights import Activations, WeightFormat
from adtrie.errors import AdtrieError, InputError
from adtrie.frequent import frequent_tokens
from adtrie.loaded import LoadedModel
from adtrie.lookup import Lookup, Run
from adtrie.models import open_tuned
from adtrie.prompt import PromptTemplate, normalise_query
from adtrie.question import Question
from adtrie.request import SESSION_ROWS, Hits, Mode, Normaliser, Score, TargetOptions
from adtrie.search.budget import Prefer
from adtrie.search.deadline import Deadline
from adtrie.search.enumerate import score_entries
from adtrie.search.generate import Beams
from adtrie.search.sampling import Sampling
from adtrie.search.scorer import check_count
from adtrie.search.text_rules import TextRules


class Model(LoadedModel):
    """A checkpoint on an engine. One request at a time: a lock orders callers from several threads.

    `Catalogue.build` takes a model as its tokenizer: `fingerprint`, `vocab_size`, `encode` and `encode_batch`
    are those of the tokenizer; the identity of the weights is `checkpoint.fingerprint`.
    """

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
        prefer: Prefer = "auto",
        deadline_ms: float | None = None,
        bid_weight: float = 0.0,
        at_most: tuple[int, str] | str | None = None,
        normaliser: Normaliser = "full",
        template: PromptTemplate | None = None,
        prior: Bonus | None = None,
        where: str | EntrySet | None = None,
        allow_ids: Iterable[str | int] | None = None,
        deny_ids: Iterable[str | int] | None = None,
        seeds: Neighbours | ArrayLike | None = None,
    ) -> Hits:
        """The `k` best entries for `query` (all of them if the catalogue is smaller); see `TargetOptions`.

        `prior` adds a constant to the score of each entry, as `bid_weight` does; `gap` proves the order of
        these sums. At `deadline_ms` the answer is the best so far with its gap, maybe nothing; call `warm`
        first. `at_most` limits how many entries of each value of an attribute are returned.
        `where`, `allow_ids`, `deny_ids` bound what may be returned (`Catalogue.select`, which see for many
        requests with one selection). `seeds`: entries by number, the likeliest first, or the neighbours of
        each query, scored besides what the search finds: exact finds the same in fewer rows, a beam cannot
        lose them. A fusion of the neighbours adds what it says to each entry's score, as a prior does. Raises
        InputError for a query, option or filter that is wrong, CatalogueError for a catalogue of another
        tokenizer, CapacityError for a prompt above the context.
        """
        options = TargetOptions(
            k, mode, score, width, max_rows, prefer, deadline_ms, bid_weight, at_most, normaliser
        )
        selection = _selected(catalogue, where, allow_ids, deny_ids)
        return self.answer(query, catalogue, options, template, prior, selection, seeds)

    def answer(
        self,
        query: str,
        catalogue: Catalogue,
        options: TargetOptions,
        template: PromptTemplate | None = None,
        prior: Bonus | None = None,
        selection: Selection | None = None,
        seeds: Neighbours | ArrayLike | None = None,
        observe: Callable[[Lookup], Run] | None = None,
    ) -> Hits:
        """`target` with its options checked before; `selection` is one of the catalogue's `select`.

        `observe` is given what is searched and returns what runs it: `explain`.
        """
        if options.bounded and not self.engine.has_frequent:
            if options.deadline_ms is not None:
                raise InputError("normaliser: call learn_frequent() before a bounded request with a deadline")
            self.learn_frequent(catalogue, template)
        deadline = None
        if options.deadline_ms is not None:
            deadline = Deadline(options.deadline_ms, self.engine.latency(), self._clock, self._pace)
        template = template or self.template
        question = Question.of(query, catalogue, options, template, prior, selection, seeds, self.tokenizer)
        with self._lock:
            session = self._session(template, options)
            return question.answer(session, self.engine.latency, deadline, observe)

    def learn_frequent(self, catalogue: Catalogue, template: PromptTemplate | None = None) -> None:
        """Chooses the tokens that `normaliser` bounded counts, by what the model expects in this catalogue.

        Seconds, once for a model: done by the first such request, but before one with a deadline. Whatever is
        chosen, bounds are bounds. Raises CatalogueError for a catalogue of another tokenizer.
        """
        with self._lock:
            if not self.engine.has_frequent:
                catalogue.check_tokenizer(self.tokenizer.fingerprint)
                chosen = frequent_tokens(self.engine, self.tokenizer, template or self.template, catalogue)
                self.engine.set_frequent(chosen)

    def target_many(
        self,
        queries: Iterable[str],
        catalogue: Catalogue,
        k: int = 10,
        mode: Mode = "exact",
        score: Score = "raw",
        *,
        concurrency: int = 64,
        template: PromptTemplate | None = None,
        prior: Bonus | None = None,
        where: str | EntrySet | None = None,
        allow_ids: Iterable[str | int] | None = None,
        deny_ids: Iterable[str | int] | None = None,
        seeds: Neighbours | ArrayLike | None = None,
        **options: Any,
    ) -> Iterator[Hits | AdtrieError]:
        """The answers of `target` to many queries, in their order, up to `concurrency` at the same time.

        In place of an answer the error that `target` would raise for that query. `options` are the others of
        `TargetOptions`. Queries are read as answers are taken. In exact mode `prefer` auto saves rows: where
        gap is 0 the answer is the same, else what `target` gives with `prefer` rows. Raises at once what
        holds for all queries.
        """
        asked = TargetOptions(k, mode, score, **options)
        selection = _selected(catalogue, where, allow_ids, deny_ids)
        catalogue.check_tokenizer(self.tokenizer.fingerprint)
        check_count("concurrency", concurrency, MAX_CONCURRENCY)

        def answers() -> Iterator[Hits | AdtrieError]:
            with self.concurrent(score, template, concurrency) as company:
                ask = lambda query: company.submit(query, catalogue, asked, prior, selection, seeds)  # noqa: E731
                for _, answer in in_order(queries, ask, 2 * concurrency):
                    yield answer

        return answers()

    def concurrent(
        self, score: Score = "raw", template: PromptTemplate | None = None, concurrency: int = 64
    ) -> Concurrent:
        """What takes requests from any thread and answers up to `concurrency` at the same time; close it."""
        with self._lock:
            return Concurrent(self.engine, self.tokenizer, template or self.template, score, concurrency)

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
        writer = Writer.of(rules, sampling, beams)
        template = template or self.create_template
        text = normalise_query(facts, "facts")
        with self._lock:
            prompt = template.query_tokens(text, self.tokenizer)
            session = self._session(template, TargetOptions(max_rows=writer.num_rows(prompt.size) // 2 + 1))
            writer.check_context(session.prefix_rows + prompt.size, self.spec.max_positions)
            cost = self.engine.latency() if draft and writer.beams.width == 1 else None
            tables = drafts.tables(text) if drafts and cost else ()
            return writer.write(session, self.tokenizer, prompt, text, tables, cost)

    def create_many(
        self,
        facts: Iterable[str],
        rules: TextRules | None = None,
        sampling: Sampling | None = None,
        *,
        concurrency: int = 32,
        beams: int | Beams = 1,
        template: PromptTemplate | None = None,
        drafts: Drafts | None = None,
        draft: bool = True,
    ) -> Iterator[Creative | AdtrieError]:
        """The texts of `create` for many facts, in their order, up to `concurrency` at the same time.

        In place of a text the error that `create` would raise for those facts. Facts are read as texts are
        taken. Raises at once what holds for all of them.
        """
        writer = Writer.of(rules, sampling, beams)
        check_count("concurrency", concurrency, MAX_CONCURRENCY)

        def texts() -> Iterator[Creative | AdtrieError]:
            with self.concurrent_writer(writer, template, drafts, draft, concurrency) as company:
                for _, made in in_order(facts, company.submit, 2 * concurrency):
                    yield made

        return texts()

    def concurrent_writer(
        self,
        writer: Writer,
        template: PromptTemplate | None = None,
        drafts: Drafts | None = None,
        draft: bool = True,
        concurrency: int = 32,
    ) -> ConcurrentWriter:
        """What takes facts from any thread and writes up to `concurrency` texts at once; close it."""
        with self._lock:
            chosen = template or self.create_template
            return ConcurrentWriter(self.engine, self.tokenizer, chosen, writer, drafts, draft, concurrency)


def load_model(
    name: str | Path,
    *,
    adapter: str | Path | None = None,
    weights: WeightFormat = "auto",
    activations: Activations = "auto",
    threads: int | None = None,
    isa: str | None = None,
) -> Model:
    """Model of an alias, a packed or Hugging Face folder or a .gguf file, ready to answer.

    `adapter`: a shipped one by name or a folder of peft's format, merged into the weights; its template
    becomes the model's. `weights` auto keeps the file's own type; `activations` auto is int8, or
    bfloat16 for such weights; float32 is the reference.
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


def _selected(
    catalogue: Catalogue,
    where: str | EntrySet | None,
    allow_ids: Iterable[str | int] | None,
    deny_ids: Iterable[str | int] | None,
) -> Selection | None:
    """None where nothing is filtered."""
    if where is None and allow_ids is None and deny_ids is None:
        return None
    return catalogue.select(where, allow_ids=allow_ids, deny_ids=deny_ids)
