"""Drawing in proportion to weights, balanced: cards dealt from shuffled decks."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from hybridlib.sampler.permutation import mix, permute

# A deck holds about this many cards for every language or pair, so that weights are met to a per cent or so.
_CARDS = 20
# What is lighter than this beside the heaviest counts as this heavy, so that no power rounds a language to nothing.
_LIGHTEST = 1e-9


def tempered_weights(items: np.ndarray, temperature: float) -> np.ndarray:
    """Items to the power 1 / temperature, the largest as 1; 0 only where there are no items. (n,)"""
    share = items / items.max(initial=1)
    return np.where(items > 0, np.maximum(share ** (1 / temperature), _LIGHTEST), 0.0)


@dataclass(frozen=True)
class Deck:
    """Cards dealt in random order, deck after deck, each deck shuffled by itself.

    Attributes:
        cards: what is on each card of a deck. (M,)
        turn: how many equal cards lie before each in the unshuffled deck. (M,)
        copies: how many equal cards a deck holds, for each card. (M,)
    """

    cards: np.ndarray
    turn: np.ndarray
    copies: np.ndarray

    @classmethod
    def from_weights(cls, values: np.ndarray, weights: np.ndarray) -> Self:
        """A deck of the values with a weight above 0, in proportion to the weights, each at least once.

        >>> Deck.from_weights(np.array([5, 6]), np.array([1.0, 1.0])).cards.tolist()
        [5, 6]
        >>> np.bincount(Deck.from_weights(np.array([0, 1]), np.array([3.0, 1.0])).cards).tolist()
        [30, 10]
        """
        kept, weights = values[weights > 0], weights[weights > 0]
        if len(kept) and np.allclose(weights, weights[0], atol=0):
            copies = np.ones(len(kept), dtype=np.int64)
        else:
            copies = np.maximum(1, np.round(weights / weights.sum() * _CARDS * len(kept))).astype(np.int64)
        turn = np.concatenate([np.arange(n) for n in copies]) if len(kept) else np.zeros(0, dtype=np.int64)
        return cls(np.repeat(kept, copies), turn, np.repeat(copies, copies))

    def deal(self, number: np.ndarray, key: np.ndarray | np.uint64) -> tuple[np.ndarray, np.ndarray]:
        """What is on the number-th card dealt, and a number for it among all cards of its value.

        The second counts the equal cards of the decks before, and of its own deck those that lay before it unshuffled.
        It is different for every card of the same value and leaves none out, so it says which item of its stream a slot
        takes. (n,), (n,)
        """
        deck, place = np.divmod(number, len(self.cards))
        card = permute(place, len(self.cards), mix(key ^ mix(deck)))
        return self.cards[card], deck * self.copies[card] + self.turn[card]
