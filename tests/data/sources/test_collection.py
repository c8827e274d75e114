"""Collections of passages: in memory or mapped, converted once, in constant memory, and no id comes twice."""

import json
import tracemalloc

import datasets
import numpy as np
import pandas as pd
import pytest
from made_tasks import lines, write

from hybridlib.data import table
from hybridlib.data.sources import collection, records
from hybridlib.data.sources.collection import Part, Row, collect, part_of_file


def parse(line):
    return Row(*json.loads(line))


@pytest.fixture
def files(tmp_path):
    """Write two files of three passages each."""
    rows = [[str(n), "en", f"text {n}"] for n in range(6)]
    return [write(tmp_path / f"{n}.jsonl", lines(rows[3 * n : 3 * n + 3])) for n in range(2)]


def parts_of(files):
    return [part_of_file(path, parse, ["made"]) for path in files]


def test_mapped_passages_are_those_in_memory(files, cache):
    frame = collect(parts_of(files))
    assert isinstance(frame, pd.DataFrame) and not cache.exists()
    mapped = collect(parts_of(files), mapped=True)
    assert isinstance(mapped, datasets.Dataset) and len(mapped.cache_files) == 2
    assert frame.to_numpy().tolist() == mapped.to_pandas().to_numpy().tolist()
    assert frame.to_numpy().tolist() == [[str(n), "en", f"text {n}"] for n in range(6)]
    assert list(frame) == mapped.column_names == ["passage_id", "language", "text"]


def test_passages_are_mapped_from_a_size_on(files, monkeypatch):
    size = sum(path.stat().st_size for path in files)
    for limit, kind in ((size, datasets.Dataset), (size + 1, pd.DataFrame)):
        monkeypatch.setattr(collection, "_LARGE", limit)
        assert isinstance(collect(parts_of(files)), kind)


def test_a_file_is_converted_once_and_again_when_it_or_the_way_is_another(files, cache):
    def converted(way=("made",)):
        read = []
        collect([part_of_file(path, lambda line: read.append(line) or parse(line), way) for path in files], mapped=True)
        return len(read)

    assert converted() == 6
    assert converted() == 0
    write(files[1], files[1].read_bytes().replace(b"text 4", b"text x"))  # as many bytes
    assert converted() == 3
    assert converted(["in another way"]) == 6


@pytest.mark.parametrize("mapped", [False, True])
def test_an_id_that_comes_twice_is_named_with_both_places(files, mapped):
    write(files[1], lines([["8", "en", "x"], ["1", "sw", "y"]]))
    with pytest.raises(
        ValueError, match=rf"^{files[1]}, line 2: passage '1' comes twice; it is in {files[0]}, line 2$"
    ):
        collect(parts_of(files), mapped=mapped)


def test_different_ids_with_one_hash_are_no_duplicates(files, monkeypatch):
    monkeypatch.setattr(pd.util, "hash_array", lambda ids, categorize: np.zeros(len(ids), dtype=np.uint64))
    assert len(collect(parts_of(files))) == 6


def test_memory_does_not_grow_with_the_collection(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "_BATCH", 200)
    monkeypatch.setattr(records, "_CHUNK", 1 << 14)
    texts = np.random.default_rng(0).random((8_000, 5)).tolist()
    peaks = []
    for number in (2_000, 2_000, 8_000):  # the first warms up
        path = write(tmp_path / "passages.jsonl.gz", lines([str(n), "th", str(texts[n])] for n in range(number)))
        part = part_of_file(path, parse, [])
        tracemalloc.start()
        table._write(tmp_path / "th.arrow", collection._pieces(part, collection.tqdm(disable=True)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


def test_a_part_of_no_file_is_named_in_messages():
    part = Part("documents of mine", [], lambda _: iter([Row("a", "en", "x"), Row("a", "en", "y")]))
    with pytest.raises(ValueError, match=r"^documents of mine, line 2: passage 'a' comes twice; it is in documents of"):
        collect([part])
