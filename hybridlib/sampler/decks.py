"""Decks of cards, from which languages and datasets are drawn in proportion to their weights.

Cards are dealt from a shuffled deck. When it is used up, the same cards are shuffled again. So each draw is random, and
after every whole deck the proportions are exact.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from hybridlib.sampler.permutation import mix, permute

# A deck has about this many cards for each value on them, so that weights are met to a per cent or so.
_CARDS = 20
# The least weight beside the largest, which is 1. Without it a high power would round a small language to nothing.
_LIGHTEST = 1e-9


def tempered_weights(items: np.ndarray, temperature: float) -> np.ndarray:
    """Return the items to the power 1 / temperature, scaled so that the largest weight is 1.

    Args:
        items: how many items each language or dataset has. (n,)
        temperature: above 0; 1 keeps the proportions, infinity gives equal weights.

    Returns:
        The weights; 0 only where there are no items. (n,)

    >>> tempered_weights(np.array([4, 1, 0]), 2.0).tolist()
    [1.0, 0.5, 0.0]
    """
    share = items / items.max(initial=1)
    return np.where(items > 0, np.maximum(share ** (1 / temperature), _LIGHTEST), 0.0)


@dataclass(frozen=True)
class Deck:
    """The cards of a deck, which is dealt again and again, each time in another random order.

    Attributes:
        cards: the value on each card; several cards may have the same value. (M,)
        turn: how many cards of the same value lie before each card of the unshuffled deck. (M,)
        copies: how many cards of the deck have the value of each card. (M,)
    """

    cards: np.ndarray
    turn: np.ndarray
    copies: np.ndarray

    @classmethod
    def from_weights(cls, values: np.ndarray, weights: np.ndarray) -> Self:
        """Make a deck with cards in proportion to the weights; each value with a weight above 0 is on one at least.

        >>> Deck.from_weights(np.array([5, 6]), np.array([1.0, 1.0])).cards.tolist()
        [5, 6]
        >>> np.bincount(Deck.from_weights(np.array([0, 1]), np.array([3.0, 1.0])).cards).tolist()
        [30, 10]
        """
        kept, weights = values[weights > 0], weights[weights > 0]
        copies = np.ones(len(kept), dtype=np.int64)
        if not np.allclose(weights, weights[:1], atol=0):
            copies = np.maximum(1, np.round(weights / weights.sum() * _CARDS * len(kept))).astype(np.int64)
        turn = np.arange(copies.sum()) - np.repeat(np.cumsum(copies) - copies, copies)
        return cls(np.repeat(kept, copies), turn, np.repeat(copies, copies))

    def deal(self, number: np.ndarray, key: np.ndarray | np.uint64) -> tuple[np.ndarray, np.ndarray]:
        """Return the value on each card that is asked for, and the card's turn among all cards of this value.

        The turns of a value are 0, 1, 2, ...: each belongs to one card, and no number is left out. So the turn says
        which item of its languages' stream a pair takes. Within a deck, turns follow the unshuffled order.

        Args:
            number: how many cards were dealt before, in this deck and those before it. (n,)
            key: another key shuffles the decks in another way.

        Returns:
            Values and turns. (n,), (n,)
        """
        deck, place = np.divmod(number, len(self.cards))
        card = permute(place, len(self.cards), mix(key ^ mix(deck)))
        return self.cards[card], deck * self.copies[card] + self.turn[card]
