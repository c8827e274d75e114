"""The table of strategies, and the decks of the languages that each of them draws.

A batch is drawn in one of five ways, and every strategy is a choice among them:

- *monolingual*: one language for the whole batch, for question and passage (`x-x-mono`; `en-en` takes English alone);
- *mixed*: one language for each pair, for question and passage (`x-x`);
- *cross-lingual*: two different languages for each pair (`x-y`);
- *flipped*: for each pair one language with probability alpha, and two different ones otherwise (`hybrid-pairs`);
- *free*: two languages for each pair, which may be the same (`mix-passages`), or one language for all passages of the
  batch and one for each question (`mix-entries`, `round-robin-entries`).

`hybrid` draws a monolingual batch with probability alpha and a cross-lingual one otherwise. The first five names are
those of LAReQA (Roy et al., 2020, section 4) and of the paper (arXiv 2408.10536, section 3).

`hybrid-pairs` is an ablation of `hybrid`: the coin is flipped for each pair instead of each batch. Both train on as
many pairs in one language and in two, so what sets them apart is whether batches are of one kind.

The last three follow Multilingual Translate-Distill (Yang et al., SIGIR 2024, arXiv 2405.00977). There an entry is a
question with the passages it is ranked over, and a batch is several entries. Here the passages of a batch are ranked
for each of its questions, so they are the entry of every question:

- `mix-passages`: each passage has a language of its own, so a question sees passages of all languages.
- `mix-entries`: all passages are in one language, drawn for the batch, so a question sees one language at a time.
- `round-robin-entries`: as in `mix-entries`, but the same questions come back in the next batches of a dataset until
  each language has been that of the passages once. An item that does not exist in a batch's language gives way to
  another one, with the same question language if possible. In the next batch it is back.

In Multilingual Translate-Distill, all questions are English. Here, their languages are drawn as in other strategies.
"""

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from hybridlib.arguments import Share, checked
from hybridlib.names import STRATEGIES
from hybridlib.sampler.availability import Segment
from hybridlib.sampler.decks import Deck, tempered_weights


@dataclass(frozen=True)
class Strategy:
    """The rules of one strategy.

    Attributes:
        name: one of `hybridlib.names.STRATEGIES`.
        monolingual: probability that a batch is monolingual, 0 to 1; None where the user sets it as alpha.
        pairs: whether question and passage of a pair are in the same language, in different ones, or in any two. It
            counts for the batches, or with `flipped` the pairs, that are not monolingual.
        english_only: whether English is the only language drawn.
        one_passage_language: whether all passages of a batch are in one language, while questions are in several.
        round_robin: whether the same questions come back until each language has been that of the passages.
        flipped: whether it is pairs instead of batches that are monolingual with the probability of `monolingual`.
    """

    name: str
    monolingual: float | None
    pairs: Literal["same", "different", "any"]
    english_only: bool = False
    one_passage_language: bool = False
    round_robin: bool = False
    flipped: bool = False


STRATEGY_RECORDS = {
    strategy.name: strategy
    for strategy in (
        Strategy("en-en", 1.0, "same", english_only=True),
        Strategy("x-x", 0.0, "same"),
        Strategy("x-x-mono", 1.0, "same"),
        Strategy("x-y", 0.0, "different"),
        Strategy("hybrid", None, "different"),
        Strategy("hybrid-pairs", None, "different", flipped=True),
        Strategy("mix-passages", 0.0, "any"),
        Strategy("mix-entries", 0.0, "any", one_passage_language=True),
        Strategy("round-robin-entries", 0.0, "any", one_passage_language=True, round_robin=True),
    )
}


@checked
def monolingual_share(strategy: Literal[STRATEGIES], alpha: Share) -> float:  # type: ignore[valid-type]
    """Return the probability that a batch is monolingual, or with `hybrid-pairs` a pair.

    Args:
        strategy: name of the strategy.
        alpha: 0 to 1; it counts for `hybrid` and `hybrid-pairs` only.

    Raises:
        ValueError: the name is unknown, or alpha is no probability.

    >>> monolingual_share("hybrid", 0.3), monolingual_share("x-y", 0.3)
    (0.3, 0.0)
    """
    share = STRATEGY_RECORDS[strategy].monolingual
    return alpha if share is None else share


@dataclass(frozen=True)
class Decks:
    """The decks that a dataset's languages are dealt from.

    A card of one language is its number. A card of two is `question * L + passage`, where L is the number of languages.

    Attributes:
        batches: deck for the one language of a whole batch.
        same: deck for pairs with question and passage in the same language.
        pairs: one deck for pairs as the strategy allows them, or with `one_passage_language` one for each passage
            language.
    """

    batches: Deck
    same: Deck
    pairs: tuple[Deck, ...]

    @classmethod
    def from_segment(
        cls,
        segment: Segment,
        languages: tuple[str, ...],
        strategy: Strategy,
        share: float,
        pairs: int,
        temperature: float,
    ) -> Self:
        """Make the decks of a dataset, after checking that it can fill every batch.

        Args:
            segment: the dataset.
            languages: codes of the languages.
            strategy: rules of the strategy.
            share: probability of a monolingual batch, or with `flipped` of a pair in one language.
            pairs: pairs in a batch.
            temperature: the weight of a language is the number of its items to the power 1 / temperature.

        Raises:
            ValueError: the dataset cannot fill a batch.
        """
        number = np.arange(len(languages))
        drawn = _drawn_languages(strategy, segment, languages)
        items = np.where(drawn, segment.count(number, number), 0)  # (L,)
        weights = tempered_weights(items, temperature)
        same = Deck.from_weights(number * (len(number) + 1), weights)
        decks = cls(
            # In a round robin each language has the same weight, however few items it has.
            batches=Deck.from_weights(number, np.sign(weights) if strategy.round_robin else weights),
            same=same,
            pairs=(same,) if strategy.pairs == "same" else _pair_decks(strategy, segment, weights),
        )
        if strategy.one_passage_language or (share > 0 and not strategy.flipped):
            _check_each_language(strategy, segment, dict(zip(languages, items.tolist(), strict=True)), pairs)
        if share < 1:
            _check_pairs(strategy, segment, np.concatenate([deck.cards for deck in decks.pairs]), pairs)
        elif strategy.flipped:
            _check_pairs(strategy, segment, decks.same.cards, pairs)
        return decks


def _pair_decks(strategy: Strategy, segment: Segment, weights: np.ndarray) -> tuple[Deck, ...]:
    """Return the deck of all pairs of languages that share an item, or one deck for each passage language."""
    cards = np.arange(len(weights) ** 2)
    a, b = np.divmod(cards, len(weights))
    per_card = weights[a] * weights[b] * (segment.count(a, b) > 0)  # (L * L,)
    if strategy.pairs == "different":
        per_card *= a != b
    if not strategy.one_passage_language:
        return (Deck.from_weights(cards, per_card),)
    return tuple(Deck.from_weights(cards[b == passage], per_card[b == passage]) for passage in range(len(weights)))


def _drawn_languages(strategy: Strategy, segment: Segment, languages: tuple[str, ...]) -> np.ndarray:
    """Return whether each language is drawn. (L,)"""
    number = np.arange(len(languages))
    drawn = segment.count(number, number) > 0
    if strategy.english_only:
        drawn &= np.array(languages) == "en"
    if not drawn.any():
        raise ValueError(
            f"strategy {strategy.name!r} needs items in {'English (en)' if strategy.english_only else 'any language'}; "
            f"dataset {segment.name!r} has none (languages of the corpus: {', '.join(languages)})"
        )
    return drawn


def _check_each_language(strategy: Strategy, segment: Segment, items: dict[str, int], pairs: int) -> None:
    """Raise unless each drawn language alone fills a batch."""
    small = [f"{code} ({n})" for code, n in items.items() if 0 < n < pairs]
    if small:
        kind = "batch of passages in one language" if strategy.one_passage_language else "monolingual batch"
        raise ValueError(
            f"batch_size is {pairs}, but a {kind} of dataset {segment.name!r} cannot be filled in "
            f"{', '.join(small)}; allowed: at most {min(n for n in items.values() if n)}, "
            "or a corpus without these languages"
        )


def _check_pairs(strategy: Strategy, segment: Segment, cards: np.ndarray, pairs: int) -> None:
    """Raise unless the languages of some card have as many items as a batch has pairs.

    One such card is enough to fill every batch: while the batch is not full, its languages have an item left. With
    `one_passage_language`, it is the card of the passages' language for both.
    """
    if not len(cards):
        raise ValueError(
            f"strategy {strategy.name!r} needs items that exist in two languages; dataset {segment.name!r} has none"
        )
    a, b = np.divmod(cards, len(segment.bits))
    most = segment.count(a, b).max()
    if most < pairs:
        languages = "no two languages share" if (a != b).all() else "no language has"
        raise ValueError(
            f"batch_size is {pairs}, but {languages} more than {most} items of dataset {segment.name!r}; "
            f"a batch never holds an item twice; allowed: at most {most}"
        )
