"""Tests of the store of texts by number, and of the table that is made from it piece by piece."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.texts import Texts, interleave


def test_texts_come_back_by_number_whatever_the_order_they_were_put_in(tmp_path: Path):
    texts = {17: "", 3: "é中😀", 0: "a\nb\tc", 4: "x" * 100_000}
    with Texts(tmp_path / "texts", 20) as kept:
        assert kept.get(np.array([3, 4])) == ["", ""]
        for number, text in texts.items():
            kept.put(number, text)
        assert kept.get(np.array([4, 3, 9, 0, 3, 17])) == [texts[4], texts[3], "", texts[0], texts[3], ""]
        assert np.flatnonzero(kept.has(np.arange(20))).tolist() == [0, 3, 4]  # an empty text is none
        kept.put(3, "another")
        assert kept.get(np.array([3])) == ["another"]


@pytest.mark.parametrize("rows", [1, 6, 7, 1000])
def test_the_pieces_are_those_of_the_table_made_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int):
    monkeypatch.setattr("hybridlib.data.texts.ROWS_AT_ONCE", rows)
    generator = np.random.default_rng(0)
    # There are 23 items of 9 queries and 7 passages. A third of these is missing in each of three languages.
    items = pd.DataFrame({"query": generator.integers(0, 9, 23), "passage": generator.integers(0, 7, 23)})
    items = items.assign(passage_group=items.passage % 3, domain="d", dataset="s")
    texts, frames = {}, []
    for code in ("en", "sw", "th"):
        pair = Texts(tmp_path / f"{code}-q", 9), Texts(tmp_path / f"{code}-p", 7)
        there = [set(np.flatnonzero(generator.random(size) > 1 / 3)) for size in (9, 7)]
        for kept, numbers, letter in zip(pair, there, "qp", strict=True):
            for number in numbers:
                kept.put(number, f"{letter}{number}{code}")
        texts[code] = pair
        both = items[items["query"].isin(there[0]) & items.passage.isin(there[1])]
        named = {"query": "q" + both["query"].astype(str) + code, "passage": "p" + both.passage.astype(str) + code}
        frames.append(both.assign(item=both.index, language=code, **named))
    frame = pd.concat(frames).sort_values("item", kind="stable")
    made = pa.concat_tables(interleave(items, texts))
    assert 0 < frame["item"].nunique() < 23 and len(frame) < 3 * frame["item"].nunique()
    assert made.to_pydict() == ParallelCorpus.from_frame(frame, ["en", "sw", "th"]).table.to_dict()


def test_a_store_grows_with_the_numbers_that_are_put_and_gives_its_texts_under_others(tmp_path: Path):
    with Texts(tmp_path / "texts") as kept:
        for number in (0, 5, 17):
            kept.put(number, f"text {number}")
        other = kept.renumbered(np.array([17, -1, 0, 1]))
        assert other.get(np.arange(4)) == ["text 17", "", "text 0", ""]
        assert other.has(np.arange(4)).tolist() == [True, False, True, False]
        assert kept.get(np.array([5, 0])) == ["text 5", "text 0"]
    with Texts(tmp_path / "more", 1) as kept:
        kept.put(0, "the last")
        assert not kept.renumbered(np.array([-1])).has(0)


def test_items_without_any_text_are_no_corpus(tmp_path: Path):
    items = pd.DataFrame({"query": [0], "passage": [0], "passage_group": [0], "domain": ["d"], "dataset": ["s"]})
    with Texts(tmp_path / "q", 1) as queries, Texts(tmp_path / "p", 1) as passages:
        queries.put(0, "a question without passage")
        with pytest.raises(ValueError, match=r"no item in any of the languages \['en'\]"):
            list(interleave(items, {"en": (queries, passages)}))


def test_a_blank_text_is_none_so_an_item_with_it_is_missing(tmp_path: Path):
    items = pd.DataFrame({"query": [0, 1, 2], "passage": [0, 1, 2], "domain": "d", "dataset": "s"})
    items["passage_group"] = [None, 7, None]
    with Texts(tmp_path / "q", 3) as queries, Texts(tmp_path / "p", 3) as passages:
        for n, (query, passage) in enumerate([("q0", "p0"), (" \t", "p1"), ("q2", "p2")]):
            queries.put(n, query)
            passages.put(n, passage)
        made = pa.concat_tables(interleave(items, {"en": (queries, passages)}))
        assert made.column("query").to_pylist() == ["q0", "q2"]
        assert made.column("passage_group").to_pylist() == [0, 1]  # null is no group, so each has its own
        queries.put(0, "")
        assert not queries.has(0) and queries.get(np.array([0])) == [""]


def test_a_lone_surrogate_is_refused_with_the_number_of_its_text(tmp_path: Path):
    with (
        Texts(tmp_path / "q", 3) as texts,
        pytest.raises(ValueError, match=r"^text 2 is 'a\\ud800'; allowed: a text w"),
    ):
        texts.put(2, "a\ud800")
