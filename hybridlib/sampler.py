"""The batch sampler: batches that are monolingual with probability alpha and cross-lingual otherwise.

A batch is drawn in one of three ways, and every strategy is a choice among them:

- *monolingual*: one language for the whole batch, question and passage in it (`x-x-mono`; `en-en` with English alone);
- *mixed*: one language for each pair, question and passage in it (`x-x`);
- *cross-lingual*: two different languages for each pair (`x-y`).

`hybrid` draws a monolingual batch with probability alpha and a cross-lingual one otherwise. The names are those of LAReQA (Roy et al.,
2020, section 4) and of the paper (arXiv 2408.10536, section 3).

How languages are drawn. They are dealt from a shuffled deck that holds every language (for cross-lingual pairs: every ordered pair of
languages) in proportion to its weight, and from the next deck when it is used up. Each draw alone is as if drawn at random; together
they are balanced. The weight is the number of items to the power 1 / temperature: 1 is in proportion to size, infinity is uniform.
Languages that share no item are never paired. Datasets, one a batch, are dealt alike.

How items are drawn. Each language (or pair) goes through its items in an order of its own, each item once before any is repeated. No item
comes twice in a batch, in any language: a pair that would repeat one is given another item of the same languages.

All of this is a function of (seed, epoch, number of the batch): nothing is remembered from the batch before, so resuming is exact, and
any batch can be asked for. Items, modes, languages and datasets are drawn from independent streams.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import datasets
import numpy as np
from sentence_transformers.base.sampler import DefaultBatchSampler

from hybridlib.availability import Availability, Segment
from hybridlib.permutation import mix, permute

STRATEGIES = ("en-en", "x-x", "x-x-mono", "x-y", "hybrid")
# A deck holds about this many cards for every language or pair, so that weights are met to a per cent or so.
_CARDS = 20


class HybridBatchSampler(DefaultBatchSampler):
    """Batches of rows of a corpus table for a dual encoder: query row, passage row, query row, passage row, ...

    `SentenceTransformerTrainer` takes `functools.partial(HybridBatchSampler, strategy="hybrid", alpha=0.5)` as its `batch_sampler`;
    `hybridlib.ParallelCollator` turns the rows into pairs. Over several processes set `accelerator_config={"split_batches": True}`: each
    takes its share of one batch, which so stays monolingual.

    Args:
        dataset: the table of a `ParallelCorpus`, or its `Availability`.
        batch_size: pairs in a batch; every batch is full.
        drop_last: whether the epoch's length, items / batch_size, is rounded down or up.
        valid_label_columns, generator: taken because the trainer gives them; not used.
        seed: another seed, other batches.
        strategy: one of `STRATEGIES`.
        alpha: probability that a batch is monolingual, for `hybrid`.
        language_temperature: 1 draws languages in proportion to their items, infinity uniformly, between is between.
        dataset_temperature: the same for datasets.

    Attributes:
        batch_size: *rows* in a batch, two a pair, as accelerate needs it to split batches over processes.

    Raises:
        ValueError: an argument is out of range, or a batch asks for more different items than there are.

    >>> from hybridlib.availability import Availability, Segment
    >>> everywhere = np.full((2, 1), 255, dtype=np.uint8)  # 8 items, each in both languages
    >>> corpus = Availability(("en", "sw"), (Segment.from_bits("tiny", 0, 8, everywhere),))
    >>> sampler = HybridBatchSampler(corpus, 4, strategy="x-y")
    >>> len(sampler)
    2
    >>> pairs = np.array(sampler.batch(0)).reshape(4, 2)
    >>> (pairs % 2).sum(axis=1).tolist()  # one of the two languages each, in every pair
    [1, 1, 1, 1]
    """

    def __init__(
        self,
        dataset: datasets.Dataset | Availability,
        batch_size: int,
        drop_last: bool = False,
        valid_label_columns: list[str] | None = None,
        generator: object = None,
        seed: int = 0,
        *,
        strategy: str = "hybrid",
        alpha: float = 0.5,
        language_temperature: float = math.inf,
        dataset_temperature: float = 1.0,
    ) -> None:
        check_strategy(strategy, alpha)
        for name, temperature in (("language_temperature", language_temperature), ("dataset_temperature", dataset_temperature)):
            if not temperature > 0:
                raise ValueError(f"{name} is {temperature}; allowed: above 0, up to infinity")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; allowed: 1 or more")
        self.availability = dataset if isinstance(dataset, Availability) else Availability.from_table(dataset)
        super().__init__(range(self.availability.items), 2 * batch_size, drop_last, seed=seed)  # type: ignore[arg-type]
        self.pairs = batch_size
        self.strategy = strategy
        self.alpha = _share_of_monolingual(strategy, alpha)
        self._language_exponent = 1 / language_temperature
        self._decks = [self._decks_of(segment) for segment in self.availability.segments]
        sizes = np.array([segment.items for segment in self.availability.segments], dtype=float)
        self._datasets = Deck.from_weights(np.arange(len(sizes)), sizes ** (1 / dataset_temperature))
        self._schedule: tuple[int, _Schedule] | None = None

    def __len__(self) -> int:
        items = self.availability.items
        return items // self.pairs if self.drop_last else -(-items // self.pairs)

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(len(self)):
            yield self.batch(number)

    def batch(self, number: int) -> list[int]:
        """The rows of one batch of the current epoch, without drawing those before it."""
        if not 0 <= number < len(self):
            raise IndexError(f"batch {number}; allowed: 0 to {len(self) - 1}")
        item, query_language, passage_language = self.draw(number)
        rows = np.empty(2 * self.pairs, dtype=np.int64)
        rows[0::2] = item * len(self.availability.languages) + query_language
        rows[1::2] = item * len(self.availability.languages) + passage_language
        return rows.tolist()

    def draw(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The items of a batch and the numbers of the languages of their queries and passages. (B,), (B,), (B,)"""
        schedule = self._scheduled()
        dataset, monolingual, turn = (int(column[number]) for column in (schedule.dataset, schedule.monolingual, schedule.turn))
        segment = self.availability.segments[dataset]
        one_language, per_pair = self._decks[dataset]
        keys = _Keys(self.seed, self.epoch, dataset)
        if monolingual:
            (cell,), (turn_of_language,) = one_language.deal(np.array([turn]), keys.of("languages", 0))
            a = b = np.full(self.pairs, cell)
            place = self._places_of_whole_batch(segment, cell, turn_of_language)
            stream = keys.of("items", 0)
        else:
            slots = turn * self.pairs + np.arange(self.pairs)
            cells, place = per_pair.deal(slots, keys.of("languages", 1))
            a, b = np.divmod(cells, len(self.availability.languages))
            stream = keys.of("items", 1)
        item = _item_at(segment, a, b, place, stream)
        if not monolingual:
            item, a, b = _without_repeats(segment, item, a, b, per_pair.cards, mix(stream ^ mix(number)))
        return item, a, b

    def _places_of_whole_batch(self, segment: Segment, language: int, turn: int) -> np.ndarray:
        """Places of a batch in its language's stream. A batch never spans two rounds of the items, which could repeat one."""
        items = int(segment.count(language, language))
        rounds, within = divmod(int(turn), items // self.pairs)
        return rounds * items + within * self.pairs + np.arange(self.pairs)

    def _scheduled(self) -> "_Schedule":
        """Mode and dataset of every batch of the epoch: a few bytes a batch, made anew when the epoch changes."""
        if self._schedule is None or self._schedule[0] != self.epoch:
            key = _Keys(self.seed, self.epoch, 0)
            dataset, _ = self._datasets.deal(np.arange(len(self)), key.of("datasets", 0))
            monolingual = _uniform(np.arange(len(self)), key.of("modes", 0)) < self.alpha
            self._schedule = (self.epoch, _Schedule.of(dataset, monolingual))
        return self._schedule[1]

    def _decks_of(self, segment: Segment) -> tuple["Deck", "Deck"]:
        """The decks of a dataset: languages for monolingual batches, pairs of languages (a * L + b) for the others."""
        codes = self.availability.languages
        number = np.arange(len(codes))
        items = segment.count(number, number)
        where = f"dataset {segment.name!r}"
        if self.strategy == "en-en":
            if "en" not in codes:
                raise ValueError(f"strategy 'en-en' needs the language en; the corpus has {', '.join(codes)}")
            drawn = number == codes.index("en")
        else:
            drawn = items > 0
        if self.alpha > 0:
            small = [f"{codes[n]} ({items[n]})" for n in number[drawn] if items[n] < self.pairs]
            if small:
                raise ValueError(
                    f"batch_size is {self.pairs}, but a monolingual batch of {where} cannot be filled in {', '.join(small)}; "
                    f"allowed: at most {items[drawn].min()}, or a corpus without these languages"
                )
        weights = np.where(drawn, items, 0).astype(float) ** self._language_exponent * drawn
        one_language = Deck.from_weights(number, weights)
        if self.strategy == "x-x":
            cells, per_pair = number * (len(codes) + 1), weights
        else:
            a, b = np.divmod(np.arange(len(codes) ** 2), len(codes))
            cells, per_pair = a * len(codes) + b, weights[a] * weights[b] * ((a != b) & (segment.count(a, b) > 0))
        if self.alpha < 1:
            self._check_pairs(segment, cells[per_pair > 0], where)
        return one_language, Deck.from_weights(cells, per_pair)

    def _check_pairs(self, segment: Segment, cells: np.ndarray, where: str) -> None:
        if not len(cells):
            raise ValueError(f"strategy {self.strategy!r} needs items in two languages; {where} has none")
        a, b = np.divmod(cells, len(self.availability.languages))
        # Some cell has this many items, so that many different ones can always be found; a smaller batch surely fits.
        if segment.count(a, b).max() < self.pairs:
            raise ValueError(
                f"batch_size is {self.pairs}, but no two languages of {where} share more than {segment.count(a, b).max()} items; "
                "a batch never holds an item twice"
            )


def check_strategy(strategy: str, alpha: float) -> None:
    """Refuse an unknown strategy or an alpha that is no probability."""
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy is {strategy!r}; allowed: {', '.join(STRATEGIES)}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; allowed: 0 to 1")


def _share_of_monolingual(strategy: str, alpha: float) -> float:
    return {"en-en": 1.0, "x-x-mono": 1.0, "x-x": 0.0, "x-y": 0.0, "hybrid": alpha}[strategy]


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
    def from_weights(cls, values: np.ndarray, weights: np.ndarray) -> "Deck":
        """A deck of the values with a weight above 0, in proportion to the weights, each at least once.

        >>> Deck.from_weights(np.array([5, 6]), np.array([1.0, 1.0])).cards.tolist()
        [5, 6]
        >>> np.bincount(Deck.from_weights(np.array([0, 1]), np.array([3.0, 1.0])).cards).tolist()
        [30, 10]
        """
        kept, weights = values[weights > 0], weights[weights > 0]
        if len(kept) and np.allclose(weights, weights[0]):
            copies = np.ones(len(kept), dtype=np.int64)
        else:
            copies = np.maximum(1, np.round(weights / weights.sum() * _CARDS * len(kept))).astype(np.int64)
        turn = np.concatenate([np.arange(n) for n in copies]) if len(kept) else np.zeros(0, dtype=np.int64)
        return cls(np.repeat(kept, copies), turn, np.repeat(copies, copies))

    def deal(self, number: np.ndarray, key: np.uint64) -> tuple[np.ndarray, np.ndarray]:
        """What is on the number-th card dealt, and how many cards of its value were in the decks before it.

        The second is a different number for every card of the same value, so it says which item of its stream a slot takes. (n,), (n,)
        """
        deck, place = np.divmod(number, len(self.cards))
        card = permute(place, len(self.cards), mix(key ^ mix(deck)))
        return self.cards[card], deck * self.copies[card] + self.turn[card]


@dataclass(frozen=True)
class _Schedule:
    """For every batch of an epoch: its dataset, whether it is monolingual, and how many of the same kind precede it. (n,) each"""

    dataset: np.ndarray
    monolingual: np.ndarray
    turn: np.ndarray

    @classmethod
    def of(cls, dataset: np.ndarray, monolingual: np.ndarray) -> "_Schedule":
        kind = dataset * 2 + monolingual
        turn = np.empty(len(kind), dtype=np.int32)
        for k in np.unique(kind):
            turn[kind == k] = np.arange((kind == k).sum())
        return cls(dataset.astype(np.int16), monolingual, turn)


class _Keys:
    """Independent 64-bit keys, one for each purpose, of one dataset in one epoch."""

    _PURPOSES = ("modes", "datasets", "languages", "items")

    def __init__(self, seed: int, epoch: int, dataset: int) -> None:
        self._words = np.random.SeedSequence([seed, epoch, dataset]).generate_state(2 * len(self._PURPOSES), np.uint64)

    def of(self, purpose: str, kind: int) -> np.uint64:
        return self._words[2 * self._PURPOSES.index(purpose) + kind]


def _uniform(number: np.ndarray, key: np.uint64) -> np.ndarray:
    """A number in [0, 1) for each, from the 53 high bits of its hash."""
    return (mix(mix(number) ^ key) >> np.uint64(11)) * 2.0**-53


def _item_at(segment: Segment, a: np.ndarray, b: np.ndarray, place: np.ndarray, key: np.uint64) -> np.ndarray:
    """The item at a place of the endless stream of a pair of languages, which is reshuffled after each round of its items. (n,)"""
    size = segment.count(a, b)
    rounds, within = np.divmod(place, size)
    return segment.select(a, b, permute(within, size, mix(mix(a * len(segment.bits) + b) ^ mix(rounds) ^ key)))


def _without_repeats(
    segment: Segment, item: np.ndarray, a: np.ndarray, b: np.ndarray, cells: np.ndarray, key: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give each pair that repeats an item of the batch another item of the same languages.

    If the batch already holds all items of these languages, the pair takes the first languages of the deck that have one left.
    """
    _, first = np.unique(item, return_index=True)
    repeats = np.setdiff1d(np.arange(len(item)), first)
    taken = set(item.tolist())
    item, a, b = item.copy(), a.copy(), b.copy()
    for slot in repeats:
        order = [a[slot] * len(segment.bits) + b[slot], *cells]
        for cell in order:
            fresh = _fresh_item(segment, *divmod(int(cell), len(segment.bits)), taken, mix(key ^ mix(slot)))
            if fresh is not None:
                break
        item[slot] = fresh
        a[slot], b[slot] = divmod(int(cell), len(segment.bits))
        taken.add(int(fresh))
    return item, a, b


def _fresh_item(segment: Segment, a: int, b: int, taken: set[int], key: np.ndarray) -> int | None:
    """The first item, in an order given by the key, that exists in both languages and is not taken."""
    size = int(segment.count(a, b))
    # Among one more place than there are taken items, one must be free, if there are so many.
    places = np.arange(min(size, len(taken) + 1))
    for begin in range(0, len(places), 8):
        some = places[begin : begin + 8]
        for candidate in segment.select(np.full(len(some), a), np.full(len(some), b), permute(some, size, key)).tolist():
            if candidate not in taken:
                return candidate
    return None
