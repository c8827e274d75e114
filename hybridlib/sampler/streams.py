"""The batches of a dataset, with their items drawn from streams.

Each language (or pair of languages) has an endless stream, which goes through its items in rounds. A round holds each
item once, in an order of its own. Batches take items from the streams as follows:

- A monolingual batch never spans two rounds. If the rest of a round is too small for a batch, it is left out.
- Equal cards of a deck may come in any order. So in the other batches, a language with several cards may mix the end
  of a round with the beginning of the next.
- No item comes twice in a batch, in any language. A pair that would repeat an item gets another item of its languages.
  If these have none left, it gets the next languages of a deck that is shuffled for the batch.

A pair's languages are the numbers `a` of its question and `b` of its passage. There are L languages, and B pairs in a
batch. The card of two languages is `a * L + b`.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hybridlib.sampler.availability import Segment
from hybridlib.sampler.decks import Deck
from hybridlib.sampler.permutation import mix, permute, uniform
from hybridlib.sampler.strategies import Decks

# This many items are looked up at once for every pair that needs another. Nearly always one of them is free.
_CANDIDATES = 8
# So many pairs are flipped at once where they are counted; each takes about fifty bytes meanwhile.
_FLIPS_AT_ONCE = 1 << 20

Draw = tuple[np.ndarray, np.ndarray, np.ndarray]  # items, a, b; (B,) each


class Keys:
    """The independent 64-bit keys of a dataset in an epoch: for each purpose one of kind 0 (batches) and 1 (pairs)."""

    PURPOSES = ("modes", "datasets", "languages", "items", "replacements")

    def __init__(self, seed: int, epoch: int, dataset: int) -> None:
        sequence = np.random.SeedSequence(seed, spawn_key=(epoch, dataset))
        self._words = sequence.generate_state(2 * len(self.PURPOSES), np.uint64)

    def of(self, purpose: str, kind: int) -> np.uint64:
        """Return the key of one of the `PURPOSES`."""
        return self._words[2 * self.PURPOSES.index(purpose) + kind]


@dataclass(frozen=True)
class Streams:
    """The batches of a dataset in an epoch. Each method draws a batch of one kind, given how many of it came before.

    Attributes:
        segment: the dataset.
        decks: decks of its languages.
        keys: keys of the dataset in the epoch.
        pairs: how many pairs a batch has.
    """

    segment: Segment
    decks: Decks
    keys: Keys
    pairs: int

    def monolingual(self, turn: int) -> Draw:
        """Draw a batch with all questions and passages in one language."""
        language, turn = self._language(turn)
        a = np.full(self.pairs, language)
        place = places_of_whole_batch(int(self.segment.count(language, language)), self.pairs, turn)
        return item_at(self.segment, a, a, place, self.keys.of("items", 0)), a, a

    def paired(self, turn: int) -> Draw:
        """Draw languages for each pair, as the strategy allows them."""
        return self._dealt(self.decks.pairs[0], turn, self.keys.of("languages", 1), self._replacement(1, turn))

    def flipped(self, turn: int, share: float, before: int) -> Draw:
        """Draw for each pair whether it is in one language, and then its languages.

        Pairs of one language and of two have streams and decks of their own, and keep to them when they are replaced.

        Args:
            turn: as for all kinds of batches.
            share: probability that a pair is in one language.
            before: how many pairs in one language came before this batch, as counted by `same_before`.
        """
        same = self._flips(turn, turn + 1, share)[0]  # (B,)
        cards, place = np.empty((2, self.pairs), dtype=np.int64)
        kinds = ((same, self.decks.same, before), (~same, self.decks.pairs[0], turn * self.pairs - before))
        for kind, (some, deck, first) in enumerate(kinds):
            if some.any():
                number = first + np.arange(some.sum())
                cards[some], place[some] = deck.deal(number, self.keys.of("languages", kind))
        a, b = np.divmod(cards, len(self.segment.bits))
        draw = item_at(self.segment, a, b, place, self.keys.of("items", 1)), a, b
        for kind, (some, deck, _) in enumerate(kinds):
            draw = replaced(self.segment, draw, repeats(draw[0]) & some, deck.cards, self._replacement(kind, turn))
        return draw

    def same_before(self, turns: int, share: float) -> np.ndarray:
        """Count the pairs in one language that come before each of the first so many batches of `flipped`. (turns,)"""
        step = max(1, _FLIPS_AT_ONCE // self.pairs)
        begins = range(0, turns, step)
        counts = [0, *(n for begin in begins for n in self._flips(begin, min(begin + step, turns), share).sum(axis=1))]
        return np.cumsum(counts)[:turns]

    def _flips(self, begin: int, end: int, share: float) -> np.ndarray:
        """Return whether each pair of the batches from `begin` to `end` - 1 is in one language. (end - begin, B)"""
        number = np.arange(begin * self.pairs, end * self.pairs)
        return (uniform(number, self.keys.of("modes", 1)) < share).reshape(-1, self.pairs)

    def entries(self, turn: int) -> Draw:
        """Draw one language for all passages of the batch, and a language for each question."""
        language, before = self._language(turn)
        key = mix(self.keys.of("languages", 1) ^ mix(language))
        return self._dealt(self.decks.pairs[language], before, key, self._replacement(1, turn))

    def round_robin(self, turn: int) -> Draw:
        """Draw questions that stay the same until each language has been that of all passages of a batch."""
        language, before = self._language(turn)
        item, a, _ = self._dealt(self.decks.same, before, self.keys.of("languages", 1), self._replacement(0, before))
        b = np.full(self.pairs, language)
        cards = self.decks.pairs[language].cards
        missing = ~self.segment.exists(item, b)
        return replaced(self.segment, (item, a, b), missing, cards, self._replacement(1, turn))

    def _language(self, turn: int) -> tuple[int, int]:
        """Return the language of a whole batch, and how many batches had it before."""
        (language,), (before,) = self.decks.batches.deal(np.array([turn]), self.keys.of("languages", 0))
        return int(language), int(before)

    def _replacement(self, kind: int, turn: int) -> np.ndarray:
        """Return the key of the replacements in a batch."""
        return mix(self.keys.of("replacements", kind) ^ mix(turn))

    def _dealt(self, deck: Deck, turn: int, languages: np.ndarray | np.uint64, replacement: np.ndarray) -> Draw:
        """Draw a batch whose pairs get their languages from a deck; the keys are for these and for replacements."""
        cards, place = deck.deal(turn * self.pairs + np.arange(self.pairs), languages)
        a, b = np.divmod(cards, len(self.segment.bits))
        item = item_at(self.segment, a, b, place, self.keys.of("items", 1))
        return replaced(self.segment, (item, a, b), repeats(item), deck.cards, replacement)


def places_of_whole_batch(items: int, pairs: int, turn: int) -> np.ndarray:
    """Return the places of a batch in its language's stream, all of them in one round. (B,)"""
    rounds, within = divmod(turn, items // pairs)
    return rounds * items + within * pairs + np.arange(pairs)


def item_at(segment: Segment, a: np.ndarray, b: np.ndarray, place: np.ndarray, key: np.uint64) -> np.ndarray:
    """Return the item at each place of the stream of its pair of languages. (n,)"""
    size = segment.count(a, b)
    rounds, within = np.divmod(place, size)
    # The card is hashed before the round joins it. If hashes of both were joined by xor, pairs would swap their rounds.
    round_key = mix(mix(key ^ mix(a * len(segment.bits) + b)) ^ mix(rounds))
    return segment.select(a, b, permute(within, size, round_key))


def repeats(item: np.ndarray) -> np.ndarray:
    """Return whether each item came before. (n,)

    >>> repeats(np.array([5, 7, 5])).tolist()
    [False, False, True]
    """
    repeat = np.full(len(item), True)
    repeat[np.unique(item, return_index=True)[1]] = False
    return repeat


def replaced(segment: Segment, drawn: Draw, vacant: np.ndarray, cards: np.ndarray, key: np.ndarray) -> Draw:
    """Give each vacant pair an item that the batch does not hold, in its own languages if they have one left.

    If the batch holds all items of its languages, the pair takes the next languages of a deck.

    Args:
        segment: the dataset.
        drawn: the batch, which is not changed. The pairs that are not vacant hold no item twice.
        vacant: whether each pair needs an item. (B,)
        cards: the deck. Some languages on it must have as many items as the batch has pairs. (M,)
        key: another key draws other items.

    Returns:
        The batch, with the pairs that are not vacant as they were.
    """
    slots = np.flatnonzero(vacant)
    if not len(slots):
        return drawn
    item, a, b = (column.copy() for column in drawn)
    taken = set(item[~vacant].tolist())
    used_up: set[int] = set()  # cards of languages whose items are all taken
    spare = _dealt_forever(cards, key)
    candidates = _candidates(segment, a[slots], b[slots], mix(key ^ mix(slots)))
    for slot, some in zip(slots.tolist(), candidates, strict=True):
        fresh = next((candidate for candidate in some if candidate not in taken), None)
        card = int(a[slot]) * len(segment.bits) + int(b[slot])
        while fresh is None:
            if card not in used_up:
                a[slot], b[slot] = divmod(card, len(segment.bits))
                fresh = fresh_item(segment, a[slot], b[slot], taken, mix(key ^ mix(slot)))
            if fresh is None:
                used_up.add(card)
                card = next(spare)
        item[slot] = fresh
        taken.add(fresh)
    return item, a, b


def fresh_item(segment: Segment, a: int, b: int, taken: set[int], key: np.ndarray) -> int | None:
    """Return the first item, in an order given by the key, that both languages have and that is not taken, if any."""
    size = int(segment.count(a, b))
    # Among one more item than are taken, one must be free. The first few are tried before the others.
    enough = min(size, len(taken) + 1)
    for begin, end in ((0, min(_CANDIDATES, enough)), (_CANDIDATES, enough)):
        some = permute(np.arange(begin, end), size, key)
        for candidate in segment.select(np.full(len(some), a), np.full(len(some), b), some).tolist():
            if candidate not in taken:
                return candidate
    return None


def _candidates(segment: Segment, a: np.ndarray, b: np.ndarray, key: np.ndarray) -> list[list[int]]:
    """Return for each pair the first few items that `fresh_item` would try, all looked up at once."""
    size = segment.count(a, b)
    some = size > 0  # there is no candidate where languages share no item
    a, b, key, most = a[some], b[some], key[some, None], size[some, None]
    place = permute(np.minimum(np.arange(_CANDIDATES), most - 1), most, key)  # (n, C); the last item fills up
    items = segment.select(np.repeat(a, _CANDIDATES), np.repeat(b, _CANDIDATES), place.ravel())
    found = iter(items.reshape(place.shape).tolist())
    return [next(found) if n else [] for n in size]


def _dealt_forever(cards: np.ndarray, key: np.ndarray) -> Iterator[int]:
    """Yield the cards in a random order, again and again."""
    yield from itertools.cycle(cards[permute(np.arange(len(cards)), len(cards), key)].tolist())
