"""The batch sampler: batches that are monolingual with probability alpha and cross-lingual otherwise.

`hybridlib.sampler.strategies` has the rules of every strategy.

Languages are dealt from a shuffled deck, and from the next one when it is used up. A deck holds every language (for
cross-lingual pairs, every ordered pair of languages) in proportion to its weight, but at least once. The weight is the
number of items to the power 1 / temperature: a temperature of 1 draws in proportion to size, infinity uniformly.
Languages that share no item are never paired. Each batch is of one dataset, and datasets are dealt in the same way.

`hybridlib.sampler.streams` says how items are drawn. No item comes twice in a batch, in any language.

A batch is a function of the seed, the epoch and its number. Nothing is remembered from the batch before, so resuming is
exact, and any batch can be asked for. Items, languages, datasets and whether a batch is monolingual are drawn
independently of each other, and each dataset's draws of the other datasets'.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import SkipValidation
from sentence_transformers.base.sampler import DefaultBatchSampler

from hybridlib.arguments import Count, Share, Temperature, Whole, checked
from hybridlib.names import STRATEGIES
from hybridlib.sampler.availability import Availability
from hybridlib.sampler.decks import Deck, tempered_weights
from hybridlib.sampler.permutation import uniform
from hybridlib.sampler.strategies import STRATEGY_RECORDS, Decks, monolingual_share
from hybridlib.sampler.streams import Draw, Keys, Streams

_BATCHES_AT_ONCE = 1 << 14
_UNUSED = {"valid_label_columns", "generator"}


class HybridBatchSampler(DefaultBatchSampler):
    """Batches of rows of a corpus table for a dual encoder: query row, passage row, query row, passage row, ...

    `SentenceTransformerTrainer` takes `functools.partial(HybridBatchSampler, strategy="hybrid", alpha=0.5)` as its
    `batch_sampler`. `hybridlib.ParallelCollator` turns the rows into pairs.

    For several processes, set `accelerator_config={"split_batches": True}`. Then each process takes its share of one
    batch, so a monolingual batch stays monolingual. When training over several processes resumes in the middle of a
    later epoch, transformers 5.23 does not tell the sampler the epoch. A callback can do so in `on_epoch_begin`:
    `train_dataloader.batch_sampler.batch_sampler.set_epoch(int(state.epoch))`.

    Args:
        dataset: a `ParallelCorpus`, its table or its `Availability`.
        batch_size: pairs in a batch, 1 or more; every batch is full.
        drop_last: whether the length of the epoch, items / batch_size, is rounded down. Otherwise it is rounded up.
        seed: 0 or more; another seed gives other batches.
        strategy: one of `hybridlib.names.STRATEGIES`.
        alpha: probability that a batch, or with `hybrid-pairs` a pair, is monolingual, 0 to 1. It counts for these two
            strategies only.
        language_temperature: above 0; 1 draws languages in proportion to their items, infinity uniformly. With
            `round-robin-entries` it counts for questions only, as each language is that of the passages once a round.
        dataset_temperature: above 0; the same for datasets.
        unused: `valid_label_columns` and `generator`, which the trainer gives to every batch sampler.

    Attributes:
        batch_size: *rows* in a batch, two for each pair. So accelerate can split batches over processes.
        pairs: pairs in a batch.

    Raises:
        TypeError: an argument is unknown.
        ValueError: an argument is of another type or out of range, or a dataset has too few items for a batch. If all
            questions or all passages of a batch are in one language, each language alone must fill a batch. Otherwise
            it is enough that one language does, or for cross-lingual pairs two languages together.

    >>> from hybridlib.sampler.availability import Availability, Segment
    >>> everywhere = np.full((2, 1), 255, dtype=np.uint8)  # 8 items, each in both languages
    >>> corpus = Availability(("en", "sw"), (Segment.from_bits("tiny", 0, 8, everywhere),))
    >>> sampler = HybridBatchSampler(corpus, 4, strategy="x-y")
    >>> len(sampler)
    2
    >>> pairs = np.array(sampler.batch(0)).reshape(4, 2)
    >>> (pairs % 2).sum(axis=1).tolist()  # every pair has both languages
    [1, 1, 1, 1]
    """

    @checked
    def __init__(
        self,
        dataset: Annotated[Any, SkipValidation],
        batch_size: Count,
        drop_last: bool = False,
        *,
        seed: Whole = 0,
        strategy: Literal[STRATEGIES] = "hybrid",  # type: ignore[valid-type]
        alpha: Share = 0.5,
        language_temperature: Temperature = math.inf,
        dataset_temperature: Temperature = 1.0,
        **unused: Annotated[Any, SkipValidation],
    ) -> None:
        if unknown := unused.keys() - _UNUSED:
            raise TypeError(f"HybridBatchSampler has no argument {', '.join(sorted(unknown))}")
        self.alpha = monolingual_share(strategy, alpha)
        self.availability = Availability.of(dataset)
        rows = range(self.availability.items * len(self.availability.languages))
        super().__init__(rows, 2 * batch_size, drop_last, seed=seed)
        self.pairs = batch_size
        self.strategy = strategy
        self._rules = STRATEGY_RECORDS[strategy]
        segments, languages = self.availability.segments, self.availability.languages
        self._decks = [
            Decks.from_segment(segment, languages, self._rules, self.alpha, self.pairs, language_temperature)
            for segment in segments
        ]
        sizes = np.array([segment.items for segment in segments])
        self._datasets = Deck.from_weights(np.arange(len(sizes)), tempered_weights(sizes, dataset_temperature))
        self._epoch: _Epoch | None = None

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        items = self.availability.items
        return items // self.pairs if self.drop_last else -(-items // self.pairs)

    @checked
    def set_epoch(self, epoch: Whole) -> None:
        """Go to an epoch, from 0; the batches of each are others."""
        super().set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the rows of each batch of the current epoch."""
        for number in range(len(self)):
            yield self.batch(number)

    def batch(self, number: int) -> list[int]:
        """Return the rows of one batch of the current epoch, without drawing those before it; errors are `draw`'s."""
        item, query_language, passage_language = self.draw(number)
        rows = np.empty(2 * self.pairs, dtype=np.int64)
        rows[0::2] = item * len(self.availability.languages) + query_language
        rows[1::2] = item * len(self.availability.languages) + passage_language
        return rows.tolist()

    @checked
    def draw(self, number: int) -> Draw:
        """Return the items of a batch, and the numbers of their queries' and passages' languages. (B,), (B,), (B,)

        Raises:
            IndexError: the epoch has no such batch.
            ValueError: the number is no whole number.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"batch is {number}; allowed: 0 to {len(self) - 1}")
        if self._epoch is None or self._epoch.number != self.epoch:
            self._epoch = self._begin_epoch()
        dataset, turn = self._epoch.dataset[number], int(self._epoch.turn[number])
        streams = self._epoch.streams[dataset]
        if self._epoch.monolingual[number]:
            return streams.monolingual(turn)
        if self._rules.flipped:
            return streams.flipped(turn, self.alpha, int(self._epoch.before[dataset][turn]))
        if self._rules.round_robin:
            return streams.round_robin(turn)
        return streams.entries(turn) if self._rules.one_passage_language else streams.paired(turn)

    def _begin_epoch(self) -> "_Epoch":
        """Draw what is known of an epoch before its batches."""
        keys = [Keys(self.seed, self.epoch, dataset) for dataset in range(len(self._decks))]
        share = 0.0 if self._rules.flipped else self.alpha  # that of whole batches
        # Drawing takes a hundred bytes a batch, so it is done in pieces; what is kept takes 9 bytes a batch.
        begins = range(0, len(self), _BATCHES_AT_ONCE)
        numbers = [np.arange(begin, min(begin + _BATCHES_AT_ONCE, len(self))) for begin in begins]
        dealt = [self._datasets.deal(some, keys[0].of("datasets", 0))[0].astype(np.int32) for some in numbers]
        modes = [uniform(some, keys[0].of("modes", 0)) < share for some in numbers]
        dataset, monolingual = np.concatenate(dealt), np.concatenate(modes)
        kind = dataset * 2 + monolingual
        turn = np.empty(len(self), dtype=np.int32)
        for one in np.unique(kind):
            turn[kind == one] = np.arange((kind == one).sum())
        of_datasets = zip(self.availability.segments, self._decks, keys, strict=True)
        streams = [Streams(segment, decks, of_one, self.pairs) for segment, decks, of_one in of_datasets]
        turns = np.bincount(dataset, minlength=len(streams)).tolist() if self._rules.flipped else []
        before = [some.same_before(n, self.alpha) for some, n in zip(streams, turns, strict=False)]
        return _Epoch(self.epoch, dataset, monolingual, turn, streams, before)


@dataclass(frozen=True)
class _Epoch:
    """An epoch, with what is drawn before its batches.

    Attributes:
        number: number of the epoch.
        dataset: dataset of each batch. (n,)
        monolingual: whether each batch is monolingual. (n,)
        turn: how many batches before each are like it, in dataset and in being monolingual or not. (n,)
        streams: streams of each dataset.
        before: for `hybrid-pairs`, how many pairs in one language come before each turn of each dataset.
    """

    number: int
    dataset: np.ndarray
    monolingual: np.ndarray
    turn: np.ndarray
    streams: list[Streams]
    before: list[np.ndarray]
