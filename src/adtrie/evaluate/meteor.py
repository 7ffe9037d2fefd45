"""METEOR with the stages exact and Porter stem; the stages synonym (WordNet) and paraphrase are left out.

Formula and parameters are those of METEOR 1.5 for English (Denkowski and Lavie, WMT 2014) without its list of
function words; published values use all of it, so the last points are not comparable. Knows no task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from adtrie.evaluate.porter import stem

_BEAM = 40  # alignments kept per word; with few repeated words that is all of them


@dataclass(frozen=True)
class MeteorParameters:
    """alpha weighs precision against recall, beta and gamma shape the chunk penalty, a stem counts `stem`."""

    alpha: float = 0.85
    beta: float = 0.2
    gamma: float = 0.6
    stem: float = 0.6


METEOR_1_5 = MeteorParameters()
METEOR_2005 = MeteorParameters(alpha=0.9, beta=3.0, gamma=0.5, stem=1.0)  # Banerjee and Lavie


@dataclass(frozen=True)
class Matches:
    """Counts of one text against one reference: exact and stem matches, chunks, lengths in words."""

    exact: int = 0
    stems: int = 0
    chunks: int = 0
    text_len: int = 0
    reference_len: int = 0

    def __add__(self, other: Matches) -> Matches:
        return Matches(*(one + two for one, two in zip(_values(self), _values(other), strict=True)))

    def score(self, parameters: MeteorParameters = METEOR_1_5) -> float:
        """METEOR in 0..1; 0 without a match. One chunk that is both whole texts costs no penalty."""
        matched = self.exact + self.stems
        if not matched:
            return 0.0
        weight = self.exact + parameters.stem * self.stems
        precision, recall = weight / self.text_len, weight / self.reference_len
        mean = precision * recall / (parameters.alpha * precision + (1 - parameters.alpha) * recall)
        whole = self.chunks == 1 and matched == self.text_len == self.reference_len
        penalty = 0.0 if whole else parameters.gamma * (self.chunks / matched) ** parameters.beta
        return (1 - penalty) * mean


def align(text: Sequence[str], reference: Sequence[str]) -> Matches:
    """Matches of the alignment with the most matched words, exact before stems, then the fewest chunks.

    Every word is aligned at most once; both sides are lower-case words.
    """
    options = _options(text, reference)
    wanted = Counter(place for exact, stems in options for place in (*exact, *stems))
    beams: dict[tuple[int, frozenset[int]], tuple[int, int, int]] = {(-2, frozenset()): (0, 0, 0)}
    for exact, stems in options:
        places = (*exact, *stems)
        certain = len(places) == 1 and wanted[places[0]] == 1  # taking it costs no other match
        after: dict[tuple[int, frozenset[int]], tuple[int, int, int]] = {}
        for (last, used), (num_exact, num_stems, chunks) in beams.items():
            if not certain:
                _keep(after, (-2, used), (num_exact, num_stems, chunks))
            for place in places:
                if place not in used:
                    is_exact = place in exact
                    counts = (
                        num_exact + is_exact,
                        num_stems + (not is_exact),
                        chunks + (place != last + 1),
                    )
                    _keep(after, (place, used | {place}), counts)
        best = sorted(after.items(), key=lambda item: _order(item[1]), reverse=True)
        beams = dict(best[:_BEAM])
    num_exact, num_stems, chunks = max(beams.values(), key=_order)
    return Matches(num_exact, num_stems, chunks, len(text), len(reference))


def best_matches(
    text: Sequence[str], references: Sequence[Sequence[str]], parameters: MeteorParameters = METEOR_1_5
) -> Matches:
    """Matches against the reference with the highest score, the first of equals."""
    return max((align(text, reference) for reference in references), key=lambda one: one.score(parameters))


def _options(text: Sequence[str], reference: Sequence[str]) -> list[tuple[list[int], list[int]]]:
    """For each word the reference places of the same word, and of other words with the same stem."""
    stems = [stem(word) for word in reference]
    out = []
    for word in text:
        own = stem(word)
        exact = [place for place, other in enumerate(reference) if other == word]
        alike = [place for place, other in enumerate(stems) if other == own and reference[place] != word]
        out.append((exact, alike))
    return out


def _keep(
    pool: dict[tuple[int, frozenset[int]], tuple[int, int, int]],
    state: tuple[int, frozenset[int]],
    counts: tuple[int, int, int],
) -> None:
    if state not in pool or _order(counts) > _order(pool[state]):
        pool[state] = counts


def _order(counts: tuple[int, int, int]) -> tuple[int, int, int]:
    """More matches, then more exact ones, then fewer chunks."""
    num_exact, num_stems, chunks = counts
    return num_exact + num_stems, num_exact, -chunks


def _values(matches: Matches) -> tuple[int, ...]:
    return matches.exact, matches.stems, matches.chunks, matches.text_len, matches.reference_len
