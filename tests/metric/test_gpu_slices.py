"""Slices of passages: order and tiles beside a slow sort, and their way to a GPU, whose streams are played."""

from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from slow_ranks import DEVICE, DTYPES, check_ranks, counting, draw_case
from torch.utils._python_dispatch import TorchDispatchMode

from hybridlib.metric.arguments import MOST_LANGUAGES
from hybridlib.metric.gpu import counts as gpu
from hybridlib.metric.gpu import slices
from hybridlib.metric.gpu.slices import slices_on


def slow_places(languages, tile):
    """Return the row of each place, and the tiles of one language each. (C,) -> (C,), (T, 3)"""
    rows, tiles = [], []
    for language in sorted(set(languages)):
        own = [row for row, other in enumerate(languages) if other == language]
        for first in range(0, len(own), tile):
            tiles.append([len(rows) + first, len(rows) + min(first + tile, len(own)), language])
        rows += own
    return rows, tiles


def check_slices(languages, *, size, number, tile, start=7):
    """Compare slices with those of the slow sort, and return them."""
    languages = np.array(languages)
    passages = torch.arange(3.0 * len(languages), device=DEVICE).reshape(-1, 3)
    made = list(slices_on(passages.device, passages, languages, start=start, size=size, number=number, tile=tile))
    assert [one.start for one in made] == list(range(start, start + len(languages), size))
    assert torch.equal(torch.cat([one.rows for one in made]), passages)
    for one in made:
        own = languages[one.start - start :][:size].tolist()
        order = torch.arange(len(own)) if one.order is None else one.order
        assert (order.tolist(), [tile for tile in one.tiles.tolist() if tile[0] < tile[1]]) == slow_places(own, tile)
        assert (one.order is None) == (own == sorted(own))
        assert one.languages.tolist() == own
        assert len(one.tiles) <= min(len(own), len(own) // tile + number)
        assert all(first <= last <= len(own) and language < number for first, last, language in one.tiles.tolist())
        assert {one.languages.dtype, torch.int32 if one.order is None else one.order.dtype} == {torch.int32}
    return made


@given(st.data(), *(st.integers(1, most) for most in (60, 70, 20, 40)))
def test_slices_hold_all_passages_in_order_and_each_tile_one_language(data, rows, size, tile, number):
    languages = data.draw(st.lists(st.integers(0, number - 1), min_size=rows, max_size=rows))
    check_slices(sorted(languages) if data.draw(st.booleans()) else languages, size=size, number=number, tile=tile)


@pytest.mark.parametrize(
    ("languages", "size", "number", "tiles"),
    [
        ([0] * 12, 12, 1, [3]),
        ([0] * 13, 13, 1, [4]),
        ([0] * 13, 4, 1, [1, 1, 1, 1]),
        ([5, 4, 3, 2, 1, 0], 6, 6, [6]),  # all languages differ
        ([0, 1, 0, 1, 1], 1, 2, [1] * 5),  # slices of one row
        ([MOST_LANGUAGES - 1, 3, 3], 8, MOST_LANGUAGES, [3]),  # one is empty
        ([2, 0] * 11, 22, 3, [7]),  # 22 places may be 3 + 3 tiles, or 7 with a third language, of which there is none
    ],
)
def test_tiles_are_as_many_as_there_may_be(languages, size, number, tiles):
    made = check_slices(languages, size=size, number=number, tile=4)
    assert [len(one.tiles) for one in made] == tiles


@pytest.mark.parametrize("languages", [[0, 1, 2, 2] * 25, [0] * 50 + [2] * 50])
def test_no_step_waits_for_the_device(languages):
    seen = []

    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    passages = torch.ones(100, 3, device=DEVICE)
    with Seen():
        made = list(slices_on(passages.device, passages, np.array(languages), start=0, size=50, number=3, tile=8))
    assert len(made) == 2
    # These tell the CPU a number of the device, or how long a tensor is; so does `bincount` on CUDA.
    assert not {"_local_scalar_dense", "nonzero", "bincount", "masked_select", "is_nonzero", "item"} & set(seen)
    assert seen.count("sort") == (2 if languages[1] else 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("kind", ["few values", "any norm"])
def test_counts_read_no_slice_once_the_second_after_it_is_asked_for(kind, dtype):
    def overwritten(device, passages, *languages, **options):
        made = []
        for one in slices_on(device, passages.clone(), *languages, **options):
            made.append(one.rows)
            if len(made) > 2:
                made[-3].fill_(torch.nan)
            yield one

    q, p, pairs, languages = draw_case(3, 5, 90, 16, 23, kind, dtypes=(dtype, dtype))
    small = mock.patch.multiple(gpu, slices_on=overwritten, _SPLIT_NUMBERS=12 * 16, _WHOLE_NUMBERS=12 * 16, _LISTED=30)
    with counting(kernels=True), small:
        check_ranks(q, p, pairs, languages)


class Stream:
    """A stream that does its work at once, or as late as it may: when someone waits for it."""

    def __init__(self, *, late):
        self.late, self.work, self.done = late, [], 0

    def add(self, work):
        self.work.append(work)
        if not self.late:
            self.run(len(self.work))

    def run(self, end):
        while self.done < end:
            self.done += 1
            self.work[self.done - 1]()

    def record_event(self):
        return Event().record(self)

    def wait_event(self, event):
        self.add(lambda stream=event.stream, end=event.end: stream.run(end))

    def wait_stream(self, other):
        self.wait_event(other.record_event())


class Event:
    stream, end, current = None, 0, None

    def record(self, stream=None):
        self.stream = stream or Event.current
        self.end = len(self.stream.work)
        return self

    def synchronize(self):
        if self.stream:
            self.stream.run(self.end)


class Player:
    """A device whose memory is that of the CPU, and whose stream that copies, or else that counts, is late."""

    device = torch.device("cuda", 0)

    def __init__(self, late):
        self.copying, self.counting = Stream(late=late == "copies"), Stream(late=late == "counts")
        self.copies, self.waits = [], 0  # rows of each copy of passages that was launched; how often the CPU waited

    @contextmanager
    def playing(self, *, pinned=False, other_gpu=False, fail_at=None):
        """Play the device, to which passages come that are pinned or on another GPU; a copy may fail."""
        copy, empty, synchronize = torch.Tensor.copy_, torch.empty, Event.synchronize

        def play_copy(target, source, non_blocking=False):
            if not non_blocking:
                return copy(target, source)
            if target.ndim == 2:
                self.copies.append(len(target))
            if len(self.copies) == fail_at:
                raise RuntimeError("the copy failed")
            Event.current.add(lambda: copy(target, source))

        def wait(event):
            self.waits += 1
            synchronize(event)

        @contextmanager
        def within(stream):
            Event.current = stream
            yield
            Event.current = self.counting

        def play_empty(shape, *, dtype, **place):
            return empty(shape, dtype=dtype).fill_(99)  # which no passage holds

        Event.current = self.counting
        cuda = {"Stream": lambda device: self.copying, "current_stream": lambda device: self.counting}
        memory = {"copy_": play_copy, "pin_memory": torch.Tensor.clone, "is_pinned": lambda tensor: pinned}
        with (
            mock.patch.multiple(torch.cuda, **cuda, stream=within, Event=Event),
            mock.patch.multiple(torch.Tensor, **memory, is_cuda=other_gpu),
            mock.patch.object(torch, "empty", play_empty),
            mock.patch.object(Event, "synchronize", wait),
        ):
            yield

    def read(self, made):
        """Read each slice as it comes, and again when the next has been read, as a count settles it. (C, D), (C, D)"""
        reads, before = ([], []), None

        def launch(again, rows):
            self.counting.add(lambda: reads[again].append(rows.clone()))

        for one in made:
            launch(False, one.rows)
            if before is not None:
                launch(True, before)
            before = one.rows
        launch(True, before)
        self.counting.run(len(self.counting.work))
        return [torch.cat(rows) for rows in reads]


def bring(player, passages, *, size=10, languages=None):
    languages = np.arange(len(passages)) % 3 if languages is None else languages
    return slices_on(player.device, passages, languages, start=0, size=size, number=3, tile=4)


def draw(rows, dtype=torch.float32):
    return torch.from_numpy(np.random.default_rng(rows).integers(0, 90, (rows, 3))).to(dtype)


SOURCES = {"pinned": {"pinned": True}, "not pinned": {}, "on another GPU": {"other_gpu": True}}


@pytest.fixture(params=["copies", "counts"])
def player(request):
    with mock.patch.multiple(slices, _BUFFER=4 * 3 * 4):  # four rows of float32
        yield Player(request.param)


@pytest.mark.parametrize("rows", [1, 9, 10, 11, 30, 39, 97])
@pytest.mark.parametrize("source", SOURCES)
def test_no_copy_is_read_before_its_end_or_overwritten_before_the_slice_is_settled(player, source, rows):
    passages = draw(rows)
    with player.playing(**SOURCES[source]):
        assert all(torch.equal(read, passages) for read in player.read(bring(player, passages)))
    assert sum(player.copies) == rows
    assert (player.waits == 0) == (source != "not pinned")  # the CPU waits for its own buffers only


def test_the_cpu_waits_for_a_buffer_only_when_all_are_on_their_way():
    player, rows = Player("copies"), draw(16)
    with player.playing(), mock.patch.multiple(slices, _BUFFER=4 * 3 * 4, _BUFFERS=4):
        buffers, Event.current = slices._Buffers(rows), player.copying
        buffers.copy(torch.zeros(16, 3), rows)
        assert (player.copies, player.copying.done) == ([4, 4, 4, 4], 0)
        buffers.copy(torch.zeros(16, 3), rows)
        assert player.copying.done == 4


@pytest.mark.parametrize("dtype", DTYPES)
def test_passages_of_any_type_and_layout_are_brought(player, dtype, tmp_path):
    whole = draw(64, dtype)
    mapped = np.memmap(tmp_path / "passages", mode="w+", dtype=np.int16, shape=(64, 3 * whole.element_size() // 2))
    mapped[:] = whole.view(torch.int16).numpy()
    for passages, pinned in ((torch.from_numpy(mapped).view(dtype), False), (whole[::3], True), (whole.T[:2], True)):
        with player.playing(pinned=pinned):
            assert all(torch.equal(read, passages) for read in player.read(bring(player, passages)))
    assert player.waits


def test_two_slices_are_on_their_way_while_one_is_counted(player):
    with player.playing(pinned=True):
        launched = [sum(player.copies) for _ in bring(player, draw(97))]
    assert launched == [30, 40, 50, 60, 70, 80, 90, 97, 97, 97]


def test_what_is_brought_comes_in_smaller_slices(player):
    with player.playing(pinned=True), mock.patch.object(slices, "_BROUGHT", 5 * 3 * 4):
        assert [len(one.rows) for one in bring(player, draw(12))] == [5, 5, 2]


def test_languages_are_brought_with_their_passages(player):
    languages = np.random.default_rng(1).integers(0, 3, 97)
    with player.playing(pinned=True):
        made = list(bring(player, draw(97), languages=languages))
    assert torch.cat([one.languages for one in made]).tolist() == languages.tolist()
    for one in made:
        rows, tiles = slow_places(languages[one.start :][:10].tolist(), 4)
        assert (one.order.tolist(), [tile for tile in one.tiles.tolist() if tile[0] < tile[1]]) == (rows, tiles)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("taken", [1, 4, 9])
def test_who_stops_early_waits_for_the_copies_on_their_way(player, source, taken):
    with player.playing(**SOURCES[source]):
        made = bring(player, draw(97))
        for _ in range(taken):
            next(made)
        made.close()
        player.counting.run(len(player.counting.work))
    assert player.copying.done == len(player.copying.work)


def test_after_a_copy_that_fails_those_before_are_waited_for(player):
    with player.playing(pinned=True, fail_at=5):
        made = bring(player, draw(97))
        with pytest.raises(RuntimeError, match="the copy failed"):
            list(made)
        player.counting.run(len(player.counting.work))
    assert player.copies == [10] * 5
    assert player.copying.done == len(player.copying.work)
