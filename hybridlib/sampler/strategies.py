"""The strategies: in which languages each draws its batches, and the largest batch that these can fill.

A batch is drawn in one of four ways, and every strategy is a choice among them:

- *monolingual*: one language for the whole batch, question and passage in it (`x-x-mono`; `en-en` with English alone);
- *mixed*: one language for each pair, question and passage in it (`x-x`);
- *cross-lingual*: two different languages for each pair (`x-y`);
- *free*: two languages for each pair, drawn independently, so they may be the same (`mix-passages`); or one language
  for all passages of the batch and one for each question (`mix-entries`, `round-robin-entries`).

`hybrid` draws a monolingual batch with probability alpha and a cross-lingual one otherwise. The first five names are
those of LAReQA (Roy et al., 2020, section 4) and of the paper (arXiv 2408.10536, section 3).

The last three carry over how Multilingual Translate-Distill mixes languages (Yang et al., SIGIR 2024, arXiv
2405.00977). There an entry is a question with the passages it is ranked over, and a batch is several entries; here the
passages of a batch are ranked for each of its questions, so the batch is one entry to all of them:

- `mix-passages`: an entry's passages are in languages of their own, so each question sees passages of all languages.
- `mix-entries`: an entry's passages are in one language, drawn for it, so each question sees one language at a time.
- `round-robin-entries`: as mix-entries, but the same questions come back in consecutive batches (of a dataset) until
  each language has been that of the passages once. Of the items that come back, those that do not exist in a batch's
  language give way to others that do, in the same question language if any is left; in the next batch they are back.

There, all questions are English; here, their languages are drawn like those of the other strategies.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from hybridlib.names import STRATEGIES
from hybridlib.sampler.availability import Segment
from hybridlib.sampler.decks import Deck, tempered_weights

# Those whose batches have all passages in one language.
ENTRIES = ("mix-entries", "round-robin-entries")


@dataclass(frozen=True)
class Strategy:
    """A strategy by name, and its probability of a monolingual batch.

    Raises:
        ValueError: the name is unknown, or alpha is no probability.
    """

    name: str
    alpha: float

    def __post_init__(self) -> None:
        if self.name not in STRATEGIES:
            raise ValueError(f"strategy is {self.name!r}; allowed: {', '.join(STRATEGIES)}")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha is {self.alpha}; allowed: 0 to 1")

    @property
    def monolingual(self) -> float:
        """Return the probability that a batch is monolingual."""
        return monolingual_share(self.name, self.alpha)


def monolingual_share(name: str, alpha: float) -> float:
    """Return the probability that a batch of a strategy is monolingual: alpha counts for `hybrid` only."""
    return {"en-en": 1.0, "x-x-mono": 1.0, "hybrid": alpha}.get(name, 0.0)


@dataclass(frozen=True)
class Decks:
    """What the languages of a dataset are dealt from. A card of two languages, a * L + b, is question and passage.

    Attributes:
        batches: languages, one for a whole batch.
        same: pairs of one language twice.
        pairs: pairs of languages for the pairs of a batch; one deck, or for `ENTRIES` one for each passage language.
    """

    batches: Deck
    same: Deck
    pairs: tuple[Deck, ...]

    @classmethod
    def of(
        cls, strategy: Strategy, segment: Segment, languages: tuple[str, ...], pairs: int, temperature: float
    ) -> Self:
        """The decks of a dataset.

        Args:
            strategy: what is drawn.
            segment: the dataset.
            languages: their codes.
            pairs: pairs in a batch.
            temperature: languages are weighted by their items to the power 1 / temperature.

        Raises:
            ValueError: the dataset cannot fill a batch.
        """
        number = np.arange(len(languages))
        items = np.where(_drawn(strategy, segment, languages), segment.count(number, number), 0)  # (L,)
        weights = tempered_weights(items, temperature)
        a, b = np.divmod(np.arange(len(number) ** 2), len(number))
        per_pair = weights[a] * weights[b] * (segment.count(a, b) > 0) * _allowed(strategy, a, b)  # (L * L,)
        if strategy.monolingual > 0 or strategy.name in ENTRIES:
            _check_one_language(strategy, segment, dict(zip(languages, items.tolist(), strict=True)), pairs)
        if strategy.monolingual < 1:
            _check_pairs(strategy, segment, a[per_pair > 0], b[per_pair > 0], pairs)
        same = Deck.from_weights(number * (len(number) + 1), weights)
        if strategy.name in ENTRIES:
            decks = [Deck.from_weights(number * len(number) + n, per_pair[b == n]) for n in number]
        else:
            decks = [same if strategy.name == "x-x" else Deck.from_weights(np.arange(len(per_pair)), per_pair)]
        # Round and round, each language has its turn, however small.
        of_batches = np.sign(weights) if strategy.name == "round-robin-entries" else weights
        return cls(Deck.from_weights(number, of_batches), same, tuple(decks))


def _allowed(strategy: Strategy, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Which pairs of languages a strategy draws for the pairs of a batch. (n,)"""
    if strategy.name == "x-x":
        return a == b
    return a != b if strategy.name in ("x-y", "hybrid") else np.full(len(a), True)


def _drawn(strategy: Strategy, segment: Segment, languages: tuple[str, ...]) -> np.ndarray:
    """Which languages a dataset is drawn in. (L,)"""
    codes = np.array(languages)
    allowed = codes == "en" if strategy.name == "en-en" else np.full(len(codes), True)
    number = np.arange(len(codes))
    drawn = allowed & (segment.count(number, number) > 0)
    if not drawn.any():
        language = "English (en)" if strategy.name == "en-en" else "any language"
        raise ValueError(
            f"strategy {strategy.name!r} needs items in {language}; dataset {segment.name!r} has none "
            f"(languages of the corpus: {', '.join(codes)})"
        )
    return drawn


def _check_one_language(strategy: Strategy, segment: Segment, items: dict[str, int], pairs: int) -> None:
    small = [f"{code} ({n})" for code, n in items.items() if 0 < n < pairs]
    if small:
        kind = "batch of passages in one language" if strategy.name in ENTRIES else "monolingual batch"
        raise ValueError(
            f"batch_size is {pairs}, but a {kind} of dataset {segment.name!r} cannot be filled in "
            f"{', '.join(small)}; allowed: at most {min(n for n in items.values() if n)}, "
            "or a corpus without these languages"
        )


def _check_pairs(strategy: Strategy, segment: Segment, a: np.ndarray, b: np.ndarray, pairs: int) -> None:
    if not len(a):
        raise ValueError(
            f"strategy {strategy.name!r} needs items that exist in two languages; dataset {segment.name!r} has none"
        )
    # Enough for every batch to be filled: when a pair is given another item, the batch holds fewer than `pairs`
    # different ones, so of the languages that have `pairs` items or more, which are in the deck, one is left. (In a
    # deck of `ENTRIES` the passages' language with itself is such a pair of languages.)
    most = segment.count(a, b).max()
    if most < pairs:
        languages = "no two languages share" if strategy.name in ("x-y", "hybrid") else "no language has"
        raise ValueError(
            f"batch_size is {pairs}, but {languages} more than {most} items of dataset {segment.name!r}; "
            f"a batch never holds an item twice; allowed: at most {most}"
        )
