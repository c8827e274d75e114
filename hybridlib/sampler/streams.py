"""The batches of a dataset: streams of items, and what replaces an item that a batch cannot hold.

Each language (or pair of languages) goes through its items in rounds: each item once, in an order of its own, then in
another order. (Equal cards of one deck may come in any order; so where a language has several, the end of a round and
the beginning of the next may be interleaved.) A monolingual batch never spans two rounds, so what is too little for a
batch is left out of a round. No item comes twice in a batch, in any language: a pair that would repeat one is given
another item of the same languages, or if these have none left, the next languages of a deck shuffled for it.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hybridlib.sampler.availability import Segment
from hybridlib.sampler.decks import Deck
from hybridlib.sampler.permutation import mix, permute
from hybridlib.sampler.strategies import Decks

# Of the items of the same languages, in random order, this many are looked up for all pairs to replace at once. Nearly
# always one of them is free.
_CANDIDATES = 8

Draw = tuple[np.ndarray, np.ndarray, np.ndarray]  # items, languages of their questions and of their passages; (B,) each


class Keys:
    """Independent 64-bit keys of one dataset in one epoch, one for each purpose and kind (0 whole batches, 1 pairs)."""

    PURPOSES = ("modes", "datasets", "languages", "items", "replacements")

    def __init__(self, seed: int, epoch: int, dataset: int) -> None:
        sequence = np.random.SeedSequence(seed, spawn_key=(epoch, dataset))
        self._words = sequence.generate_state(2 * len(self.PURPOSES), np.uint64)

    def of(self, purpose: str, kind: int) -> np.uint64:
        return self._words[2 * self.PURPOSES.index(purpose) + kind]


@dataclass(frozen=True)
class Streams:
    """The batches of a dataset in an epoch; each method draws the turn-th of its kind.

    Attributes:
        segment: the dataset.
        decks: those of its languages.
        keys: the keys of the epoch.
        pairs: pairs in a batch.
    """

    segment: Segment
    decks: Decks
    keys: Keys
    pairs: int

    def monolingual(self, turn: int) -> Draw:
        """All questions and passages in one language."""
        language, turn = self._language(turn)
        a = np.full(self.pairs, language)
        place = places_of_whole_batch(int(self.segment.count(language, language)), self.pairs, turn)
        return item_at(self.segment, a, a, place, self.keys.of("items", 0)), a, a

    def paired(self, turn: int) -> Draw:
        """Languages for each pair, as the strategy allows them."""
        return self._dealt(self.decks.pairs[0], turn, self.keys.of("languages", 1), self._replacement(1, turn))

    def entries(self, turn: int) -> Draw:
        """All passages in one language, drawn for the batch; the question's drawn for each pair."""
        language, of_language = self._language(turn)
        key = mix(self.keys.of("languages", 1) ^ mix(language))
        return self._dealt(self.decks.pairs[language], of_language, key, self._replacement(1, turn))

    def round_robin(self, turn: int) -> Draw:
        """All passages in one language, each in its turn; the same questions until each has had it."""
        language, group = self._language(turn)
        item, a, _ = self._dealt(self.decks.same, group, self.keys.of("languages", 1), self._replacement(0, group))
        b = np.full(self.pairs, language)
        cards = self.decks.pairs[language].cards
        missing = ~self.segment.exists(item, b)
        return replaced(self.segment, (item, a, b), missing, cards, self._replacement(1, turn))

    def _language(self, turn: int) -> tuple[int, int]:
        """The language of a whole batch, and how many batches had it before."""
        (language,), (before,) = self.decks.batches.deal(np.array([turn]), self.keys.of("languages", 0))
        return int(language), int(before)

    def _replacement(self, kind: int, turn: int) -> np.ndarray:
        return mix(self.keys.of("replacements", kind) ^ mix(turn))

    def _dealt(self, deck: Deck, turn: int, languages: np.ndarray | np.uint64, replacement: np.ndarray) -> Draw:
        slots = turn * self.pairs + np.arange(self.pairs)
        cells, place = deck.deal(slots, languages)
        a, b = np.divmod(cells, len(self.segment.bits))
        item = item_at(self.segment, a, b, place, self.keys.of("items", 1))
        return replaced(self.segment, (item, a, b), repeats(item), deck.cards, replacement)


def places_of_whole_batch(items: int, pairs: int, turn: int) -> np.ndarray:
    """Places of a batch in its language's stream; never of two rounds of the items, which could repeat one. (B,)"""
    rounds, within = divmod(turn, items // pairs)
    return rounds * items + within * pairs + np.arange(pairs)


def item_at(segment: Segment, a: np.ndarray, b: np.ndarray, place: np.ndarray, key: np.uint64) -> np.ndarray:
    """The item at a place of the endless stream of a pair of languages, which is reshuffled after each round. (n,)"""
    size = segment.count(a, b)
    rounds, within = np.divmod(place, size)
    # Hashed one after the other: if the hashes of the two numbers were joined by xor, pairs would swap their rounds.
    of_round = mix(mix(key ^ mix(a * len(segment.bits) + b)) ^ mix(rounds))
    return segment.select(a, b, permute(within, size, of_round))


def repeats(item: np.ndarray) -> np.ndarray:
    """Whether an item came before. (n,)

    >>> repeats(np.array([5, 7, 5])).tolist()
    [False, False, True]
    """
    repeat = np.full(len(item), True)
    repeat[np.unique(item, return_index=True)[1]] = False
    return repeat


def replaced(segment: Segment, drawn: Draw, vacant: np.ndarray, cards: np.ndarray, key: np.ndarray) -> Draw:
    """Give each vacant pair an item that the batch does not hold, in the same languages if they have one left.

    If the batch already holds all items of these languages, the pair takes the next languages of a deck of its own.

    Args:
        segment: the dataset.
        drawn: the batch; what is not vacant holds no item twice, and is kept. Not changed.
        vacant: which pairs are to be replaced. (B,)
        cards: the deck, a * L + b; it must hold languages with as many items as the batch has pairs. (M,)
        key: another key, other items.
    """
    slots = np.flatnonzero(vacant)
    if not len(slots):
        return drawn
    item, a, b = (column.copy() for column in drawn)
    taken = set(item[~vacant].tolist())
    used_up: set[int] = set()  # languages whose items are all taken; they remain so
    spare = _dealt_forever(cards, key)
    candidates = _candidates(segment, a[slots], b[slots], mix(key ^ mix(slots)))
    for slot, some in zip(slots.tolist(), candidates, strict=True):
        fresh = next((candidate for candidate in some if candidate not in taken), None)
        cell = int(a[slot]) * len(segment.bits) + int(b[slot])
        while fresh is None:
            if cell not in used_up:
                a[slot], b[slot] = divmod(cell, len(segment.bits))
                fresh = fresh_item(segment, a[slot], b[slot], taken, mix(key ^ mix(slot)))
            if fresh is None:
                used_up.add(cell)
                cell = next(spare)
        item[slot] = fresh
        taken.add(fresh)
    return item, a, b


def fresh_item(segment: Segment, a: int, b: int, taken: set[int], key: np.ndarray) -> int | None:
    """The first item, in an order given by the key, that exists in both languages and is not taken."""
    size = int(segment.count(a, b))
    # Among one more place than there are taken items, one must be free, if there are so many. The first few nearly
    # always have one.
    enough = min(size, len(taken) + 1)
    for begin, end in ((0, min(_CANDIDATES, enough)), (_CANDIDATES, enough)):
        some = permute(np.arange(begin, end), size, key)
        for candidate in segment.select(np.full(len(some), a), np.full(len(some), b), some).tolist():
            if candidate not in taken:
                return candidate
    return None


def _candidates(segment: Segment, a: np.ndarray, b: np.ndarray, key: np.ndarray) -> list[list[int]]:
    """The first few items in the orders in which `fresh_item` tries them, all looked up at once. n lists"""
    size = segment.count(a, b)
    some = size > 0  # languages that share no item have no candidates
    a, b, key, most = a[some], b[some], key[some, None], size[some, None]
    place = permute(np.minimum(np.arange(_CANDIDATES), most - 1), most, key)  # (n, C); too few items, the last again
    items = segment.select(np.repeat(a, _CANDIDATES), np.repeat(b, _CANDIDATES), place.ravel())
    found = iter(items.reshape(place.shape).tolist())
    return [next(found) if n else [] for n in size]


def _dealt_forever(cards: np.ndarray, key: np.ndarray) -> Iterator[int]:
    """The cards in a random order, again and again."""
    yield from itertools.cycle(cards[permute(np.arange(len(cards)), len(cards), key)].tolist())
