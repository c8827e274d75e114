"""The batch sampler: batches that are monolingual with probability alpha and cross-lingual otherwise.

`hybridlib.sampler.strategies` has the rules of every strategy.

How languages are drawn. They are dealt from a shuffled deck, and from the next one when it is used up. A deck holds
every language (for cross-lingual pairs: every ordered pair of languages) in proportion to its weight, but at least
once. Each draw alone is as random as any; together they are balanced. The weight is the number of items to the power
1 / temperature: 1 is in proportion to size, infinity is uniform. Languages that share no item are never paired. Each
batch is of one dataset; datasets are dealt in the same way.

How items are drawn. Each language (or pair) goes through its items in rounds, each item once. No item comes twice in a
batch, in any language. `hybridlib.sampler.streams` says how.

A batch is a function of (seed, epoch, number of the batch). Nothing is remembered from the batch before, so resuming is
exact, and any batch can be asked for. Items, modes, languages and datasets are drawn from independent streams, and so
are datasets from each other.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
from sentence_transformers.base.sampler import DefaultBatchSampler

from hybridlib.sampler.availability import Availability
from hybridlib.sampler.decks import Deck, tempered_weights
from hybridlib.sampler.permutation import mix
from hybridlib.sampler.strategies import Decks, find_strategy, monolingual_share
from hybridlib.sampler.streams import Draw, Keys, Streams

_BATCHES_AT_ONCE = 1 << 14
_UNUSED = {"valid_label_columns", "generator"}


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
        seed: 0 or more; another seed gives other batches.
        strategy: one of `hybridlib.names.STRATEGIES`.
        alpha: probability that a batch is monolingual, for `hybrid`.
        language_temperature: 1 draws languages in proportion to their items, infinity uniformly. With
            `round-robin-entries` it counts for questions only, as each language is the passages' once a round.
        dataset_temperature: the same for datasets.
        unused: `valid_label_columns` and `generator`, which the trainer hands over to every batch sampler.

    Attributes:
        batch_size: *rows* in a batch, two a pair, as accelerate needs it to split batches over processes.
        pairs: pairs in a batch.

    Raises:
        TypeError: there is no such argument.
        ValueError: an argument is out of range, or a dataset has too few items for a batch. Where questions or passages
            of a batch are in one language, every language must fill a batch; else some language must, or for
            cross-lingual batches some two.

    >>> from hybridlib.sampler.availability import Availability, Segment
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
        *,
        seed: int = 0,
        strategy: str = "hybrid",
        alpha: float = 0.5,
        language_temperature: float = math.inf,
        dataset_temperature: float = 1.0,
        **unused: Any,
    ) -> None:
        if unknown := unused.keys() - _UNUSED:
            raise TypeError(f"HybridBatchSampler has no argument {', '.join(sorted(unknown))}")
        self.alpha = monolingual_share(strategy, alpha)
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
        self._rules = find_strategy(strategy)
        segments, languages = self.availability.segments, self.availability.languages
        self._decks = [
            Decks.from_segment(segment, languages, self._rules, self.alpha, self.pairs, language_temperature)
            for segment in segments
        ]
        sizes = np.array([segment.items for segment in segments])
        self._datasets = Deck.from_weights(np.arange(len(sizes)), tempered_weights(sizes, dataset_temperature))
        self._epoch: _Epoch | None = None

    def __len__(self) -> int:
        items = self.availability.items
        return items // self.pairs if self.drop_last else -(-items // self.pairs)

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(len(self)):
            yield self.batch(number)

    def batch(self, number: int) -> list[int]:
        """Return the rows of one batch of the current epoch, without drawing those before it."""
        item, query_language, passage_language = self.draw(number)
        rows = np.empty(2 * self.pairs, dtype=np.int64)
        rows[0::2] = item * len(self.availability.languages) + query_language
        rows[1::2] = item * len(self.availability.languages) + passage_language
        return rows.tolist()

    def draw(self, number: int) -> Draw:
        """Return the items of a batch, and the numbers of their queries' and passages' languages. (B,), (B,), (B,)

        Raises:
            IndexError: the epoch has no such batch.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"batch is {number}; allowed: 0 to {len(self) - 1}")
        if self._epoch is None or self._epoch.number != self.epoch:
            self._epoch = self._begin_epoch()
        schedule = self._epoch.schedule
        streams, turn = self._epoch.streams[schedule.dataset[number]], int(schedule.turn[number])
        if schedule.monolingual[number]:
            return streams.monolingual(turn)
        if self._rules.round_robin:
            return streams.round_robin(turn)
        return streams.entries(turn) if self._rules.one_passage_language else streams.paired(turn)

    def _begin_epoch(self) -> "_Epoch":
        """Draw what is known of an epoch before its batches: 9 bytes a batch."""
        keys = [Keys(self.seed, self.epoch, dataset) for dataset in range(len(self._decks))]
        begins = range(0, len(self), _BATCHES_AT_ONCE)  # what is drawn in between takes a hundred bytes a batch
        numbers = [np.arange(begin, min(begin + _BATCHES_AT_ONCE, len(self))) for begin in begins]
        dataset = [self._datasets.deal(some, keys[0].of("datasets", 0))[0].astype(np.int32) for some in numbers]
        monolingual = [_uniform(some, keys[0].of("modes", 0)) < self.alpha for some in numbers]
        of_datasets = zip(self.availability.segments, self._decks, keys, strict=True)
        streams = [Streams(segment, decks, of_one, self.pairs) for segment, decks, of_one in of_datasets]
        return _Epoch(self.epoch, _Schedule.count(np.concatenate(dataset), np.concatenate(monolingual)), streams)


@dataclass(frozen=True)
class _Schedule:
    """For every batch of an epoch: its dataset, whether it is monolingual, and how many alike precede it. (n,) each"""

    dataset: np.ndarray
    monolingual: np.ndarray
    turn: np.ndarray

    @classmethod
    def count(cls, dataset: np.ndarray, monolingual: np.ndarray) -> "_Schedule":
        """Count the batches of the same dataset and mode before each."""
        kind = dataset * 2 + monolingual
        turn = np.empty(len(kind), dtype=np.int32)
        for one in np.unique(kind):
            turn[kind == one] = np.arange((kind == one).sum())
        return cls(dataset.astype(np.int32), monolingual, turn)


@dataclass(frozen=True)
class _Epoch:
    """An epoch's number, its schedule, and the streams of each dataset in it."""

    number: int
    schedule: _Schedule
    streams: list[Streams]


def _uniform(number: np.ndarray, key: np.uint64) -> np.ndarray:
    """Return a number in [0, 1) for each, from the 53 high bits of its hash."""
    return (mix(mix(number) ^ key) >> np.uint64(11)) * 2.0**-53
