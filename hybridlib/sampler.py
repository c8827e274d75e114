"""The batch sampler: batches that are monolingual with probability alpha and cross-lingual otherwise.

A batch is drawn in one of three ways, and every strategy is a choice among them:

- *monolingual*: one language for the whole batch, question and passage in it (`x-x-mono`; `en-en` with English alone);
- *mixed*: one language for each pair, question and passage in it (`x-x`);
- *cross-lingual*: two different languages for each pair (`x-y`).

`hybrid` draws a monolingual batch with probability alpha and a cross-lingual one otherwise. The names are those of
LAReQA (Roy et al., 2020, section 4) and of the paper (arXiv 2408.10536, section 3).

How languages are drawn. They are dealt from a shuffled deck that holds every language (for cross-lingual pairs: every
ordered pair of languages) in proportion to its weight, but at least once, and from the next deck when it is used up.
Each draw alone is as if drawn at random; together they are balanced. The weight is the number of items to the power
1 / temperature: 1 is in proportion to size, infinity is uniform. Languages that share no item are never paired.
Datasets, one a batch, are dealt alike.

How items are drawn. Each language (or pair) goes through its items in rounds: each item once, in an order of its own,
then in another order. (Equal cards of one deck may come in any order; so where a language has several, the end of a
round and the beginning of the next may be interleaved.) A monolingual batch never spans two rounds, so what is too
little for a batch is left out of a round. No item comes twice in a batch, in any language: a pair that would repeat one
is given another item of the same languages, or if these have none left, the next languages of a deck shuffled for it.

All of this is a function of (seed, epoch, number of the batch): nothing is remembered from the batch before, so
resuming is exact, and any batch can be asked for. Items, modes, languages and datasets are drawn from independent
streams, and so are datasets from each other.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import datasets
import numpy as np
from sentence_transformers.base.sampler import DefaultBatchSampler

from hybridlib.availability import Availability, Segment
from hybridlib.deck import Deck, tempered_weights
from hybridlib.permutation import mix, permute

STRATEGIES = ("en-en", "x-x", "x-x-mono", "x-y", "hybrid")


class HybridBatchSampler(DefaultBatchSampler):
    """Batches of rows of a corpus table for a dual encoder: query row, passage row, query row, passage row, ...

    `SentenceTransformerTrainer` takes `functools.partial(HybridBatchSampler, strategy="hybrid", alpha=0.5)` as its
    `batch_sampler`; `hybridlib.ParallelCollator` turns the rows into pairs. Over several processes set
    `accelerator_config={"split_batches": True}`: each takes its share of one batch, which so stays monolingual.
    (Resuming in the middle of a later epoch over several processes, transformers 5.23 does not tell the sampler which
    epoch it is. A callback's `on_epoch_begin` can:
    `train_dataloader.batch_sampler.batch_sampler.set_epoch(int(state.epoch))`.)

    Args:
        dataset: the table of a `ParallelCorpus`, or its `Availability`.
        batch_size: pairs in a batch; every batch is full.
        drop_last: whether the epoch's length, items / batch_size, is rounded down or up.
        valid_label_columns, generator: taken because the trainer gives them; not used.
        seed: 0 or more; another seed, other batches.
        strategy: one of `STRATEGIES`.
        alpha: probability that a batch is monolingual, for `hybrid`.
        language_temperature: 1 draws languages in proportion to their items, infinity uniformly, between is between.
        dataset_temperature: the same for datasets.

    Attributes:
        batch_size: *rows* in a batch, two a pair, as accelerate needs it to split batches over processes.
        pairs: pairs in a batch.

    Raises:
        ValueError: an argument is out of range, or a batch asks for more different items than any language (for
            cross-lingual batches: any two languages) of a dataset can give.

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
        temperatures = {"language_temperature": language_temperature, "dataset_temperature": dataset_temperature}
        for name, temperature in temperatures.items():
            if not temperature > 0:
                raise ValueError(f"{name} is {temperature}; allowed: above 0, up to infinity")
        for name, value, least in (("batch_size", batch_size, 1), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"{name} is {value}; allowed: {least} or more")
        self.availability = dataset if isinstance(dataset, Availability) else Availability.from_table(dataset)
        rows = range(self.availability.items * len(self.availability.languages))
        super().__init__(rows, 2 * batch_size, drop_last, seed=seed)
        self.pairs = batch_size
        self.strategy = strategy
        self.alpha = _share_of_monolingual(strategy, alpha)
        self._decks = [self._decks_of(segment, language_temperature) for segment in self.availability.segments]
        sizes = np.array([segment.items for segment in self.availability.segments])
        self._datasets = Deck.from_weights(np.arange(len(sizes)), tempered_weights(sizes, dataset_temperature))
        self._schedule: tuple[int, _Schedule] | None = None

    def __len__(self) -> int:
        items = self.availability.items
        return items // self.pairs if self.drop_last else -(-items // self.pairs)

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(len(self)):
            yield self.batch(number)

    def batch(self, number: int) -> list[int]:
        """The rows of one batch of the current epoch, without drawing those before it."""
        item, query_language, passage_language = self.draw(number)
        rows = np.empty(2 * self.pairs, dtype=np.int64)
        rows[0::2] = item * len(self.availability.languages) + query_language
        rows[1::2] = item * len(self.availability.languages) + passage_language
        return rows.tolist()

    def draw(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The items of a batch and the numbers of the languages of their queries and passages. (B,), (B,), (B,)

        Raises:
            IndexError: the epoch has no such batch.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"batch is {number}; allowed: 0 to {len(self) - 1}")
        schedule = self._scheduled()
        dataset, monolingual, turn = (
            int(column[number]) for column in (schedule.dataset, schedule.monolingual, schedule.turn)
        )
        segment = self.availability.segments[dataset]
        one_language, per_pair = self._decks[dataset]
        keys = _Keys(self.seed, self.epoch, dataset)
        if monolingual:
            (language,), (turn_of_language,) = one_language.deal(np.array([turn]), keys.of("languages", 0))
            a = b = np.full(self.pairs, language)
            place = self._places_of_whole_batch(int(segment.count(language, language)), int(turn_of_language))
            return _item_at(segment, a, b, place, keys.of("items", 0)), a, b
        slots = turn * self.pairs + np.arange(self.pairs)
        cells, place = per_pair.deal(slots, keys.of("languages", 1))
        a, b = np.divmod(cells, len(self.availability.languages))
        item = _item_at(segment, a, b, place, keys.of("items", 1))
        return _without_repeats(segment, item, a, b, per_pair.cards, mix(keys.of("replacements", 1) ^ mix(turn)))

    def _places_of_whole_batch(self, items: int, turn: int) -> np.ndarray:
        """Places of a batch in its language's stream; never of two rounds of the items, which could repeat one. (B,)"""
        rounds, within = divmod(turn, items // self.pairs)
        return rounds * items + within * self.pairs + np.arange(self.pairs)

    def _scheduled(self) -> "_Schedule":
        """Mode and dataset of every batch of the epoch: 9 bytes a batch, made anew when the epoch changes."""
        if self._schedule is None or self._schedule[0] != self.epoch:
            key = _Keys(self.seed, self.epoch, 0)
            dataset, _ = self._datasets.deal(np.arange(len(self)), key.of("datasets", 0))
            monolingual = _uniform(np.arange(len(self)), key.of("modes", 0)) < self.alpha
            self._schedule = (self.epoch, _Schedule.of(dataset, monolingual))
        return self._schedule[1]

    def _decks_of(self, segment: Segment, temperature: float) -> tuple[Deck, Deck]:
        """The decks of a dataset: languages for monolingual batches, pairs of languages (a * L + b) for the others."""
        number = np.arange(len(self.availability.languages))
        items = np.where(self._drawn(segment), segment.count(number, number), 0)  # (L,)
        weights = tempered_weights(items, temperature)
        if self.strategy == "x-x":
            cells, per_pair = number * (len(number) + 1), weights
        else:
            cells = np.arange(len(number) ** 2)
            a, b = np.divmod(cells, len(number))
            per_pair = weights[a] * weights[b] * ((a != b) & (segment.count(a, b) > 0))
        if self.alpha > 0:
            self._check_monolingual(segment, items)
        if self.alpha < 1:
            self._check_pairs(segment, cells[per_pair > 0])
        return Deck.from_weights(number, weights), Deck.from_weights(cells, per_pair)

    def _drawn(self, segment: Segment) -> np.ndarray:
        """Which languages a dataset is drawn in. (L,)"""
        codes = np.array(self.availability.languages)
        allowed = codes == "en" if self.strategy == "en-en" else np.full(len(codes), True)
        number = np.arange(len(codes))
        drawn = allowed & (segment.count(number, number) > 0)
        if not drawn.any():
            language = "English (en)" if self.strategy == "en-en" else "any language"
            raise ValueError(
                f"strategy {self.strategy!r} needs items in {language}; dataset {segment.name!r} has none "
                f"(languages of the corpus: {', '.join(codes)})"
            )
        return drawn

    def _check_monolingual(self, segment: Segment, items: np.ndarray) -> None:
        named = zip(self.availability.languages, items.tolist(), strict=True)
        small = [f"{code} ({n})" for code, n in named if 0 < n < self.pairs]
        if small:
            raise ValueError(
                f"batch_size is {self.pairs}, but a monolingual batch of dataset {segment.name!r} cannot be filled in "
                f"{', '.join(small)}; allowed: at most {items[items > 0].min()}, or a corpus without these languages"
            )

    def _check_pairs(self, segment: Segment, cells: np.ndarray) -> None:
        if not len(cells):
            raise ValueError(
                f"strategy {self.strategy!r} needs items that exist in two languages; dataset {segment.name!r} has none"
            )
        # Enough for every batch to be filled: when a pair is given another item, the batch holds fewer than `pairs`
        # different ones, so of the languages that have `pairs` items or more, which are in the deck, one is left.
        most = segment.count(*np.divmod(cells, len(self.availability.languages))).max()
        if most < self.pairs:
            languages = "no language has" if self.strategy == "x-x" else "no two languages share"
            raise ValueError(
                f"batch_size is {self.pairs}, but {languages} more than {most} items of dataset {segment.name!r}; "
                f"a batch never holds an item twice; allowed: at most {most}"
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
class _Schedule:
    """For every batch of an epoch: its dataset, whether it is monolingual, and how many alike precede it. (n,) each"""

    dataset: np.ndarray
    monolingual: np.ndarray
    turn: np.ndarray

    @classmethod
    def of(cls, dataset: np.ndarray, monolingual: np.ndarray) -> "_Schedule":
        kind = dataset * 2 + monolingual
        turn = np.empty(len(kind), dtype=np.int32)
        for k in np.unique(kind):
            turn[kind == k] = np.arange((kind == k).sum())
        return cls(dataset.astype(np.int32), monolingual, turn)


class _Keys:
    """Independent 64-bit keys, one for each purpose and kind (0 monolingual, 1 not), of one dataset in one epoch."""

    _PURPOSES = ("modes", "datasets", "languages", "items", "replacements")

    def __init__(self, seed: int, epoch: int, dataset: int) -> None:
        sequence = np.random.SeedSequence(seed, spawn_key=(epoch, dataset))
        self._words = sequence.generate_state(2 * len(self._PURPOSES), np.uint64)

    def of(self, purpose: str, kind: int) -> np.uint64:
        return self._words[2 * self._PURPOSES.index(purpose) + kind]


def _uniform(number: np.ndarray, key: np.uint64) -> np.ndarray:
    """A number in [0, 1) for each, from the 53 high bits of its hash."""
    return (mix(mix(number) ^ key) >> np.uint64(11)) * 2.0**-53


def _item_at(segment: Segment, a: np.ndarray, b: np.ndarray, place: np.ndarray, key: np.uint64) -> np.ndarray:
    """The item at a place of the endless stream of a pair of languages, which is reshuffled after each round. (n,)"""
    size = segment.count(a, b)
    rounds, within = np.divmod(place, size)
    # Hashed one after the other: if the hashes of the two numbers were joined by xor, pairs would swap their rounds.
    of_round = mix(mix(key ^ mix(a * len(segment.bits) + b)) ^ mix(rounds))
    return segment.select(a, b, permute(within, size, of_round))


def _without_repeats(
    segment: Segment, item: np.ndarray, a: np.ndarray, b: np.ndarray, cards: np.ndarray, key: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give each pair that repeats an item of the batch another item of the same languages.

    If the batch already holds all items of these languages, the pair takes the next languages of a deck of its own.
    """
    _, first = np.unique(item, return_index=True)
    repeats = np.setdiff1d(np.arange(len(item)), first)
    taken = set(item.tolist())
    used_up: set[int] = set()  # languages whose items are all taken; they remain so
    spare = _dealt_forever(cards, key)
    item, a, b = item.copy(), a.copy(), b.copy()
    for slot in repeats:
        cell: int = a[slot] * len(segment.bits) + b[slot]
        fresh = None
        while fresh is None:
            if cell not in used_up:
                a[slot], b[slot] = divmod(cell, len(segment.bits))
                fresh = _fresh_item(segment, a[slot], b[slot], taken, mix(key ^ mix(slot)))
            if fresh is None:
                used_up.add(cell)
                cell = next(spare)
        item[slot] = fresh
        taken.add(fresh)
    return item, a, b


def _dealt_forever(cards: np.ndarray, key: np.ndarray) -> Iterator[int]:
    """The cards in a random order, again and again."""
    yield from itertools.cycle(cards[permute(np.arange(len(cards)), len(cards), key)].tolist())


def _fresh_item(segment: Segment, a: int, b: int, taken: set[int], key: np.ndarray) -> int | None:
    """The first item, in an order given by the key, that exists in both languages and is not taken."""
    size = int(segment.count(a, b))
    # Among one more place than there are taken items, one must be free, if there are so many. The first few nearly
    # always have one.
    enough = min(size, len(taken) + 1)
    for begin, end in ((0, min(8, enough)), (8, enough)):
        some = permute(np.arange(begin, end), size, key)
        for candidate in segment.select(np.full(len(some), a), np.full(len(some), b), some).tolist():
            if candidate not in taken:
                return candidate
    return None
