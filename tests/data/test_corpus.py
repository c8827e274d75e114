"""Training data: the grid of items by languages, thinning, and what the named corpora hold."""

import json
import math
import tempfile
from fractions import Fraction
from pathlib import Path

import datasets
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybridlib.data.atlas.facts import LANGUAGES, atlas_facts, atlas_names, atlas_texts
from hybridlib.data.atlas.read import _facts_as_items
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import CORPORA, load_corpus, load_task
from hybridlib.data.sources.lareqa import XQUAD_R, LareqaData, read_xquad_r, split_articles
from hybridlib.sampler.batches import HybridBatchSampler

COLUMNS = ["item", "language", "query", "passage", "passage_group", "domain", "dataset"]


def rows_of(*present: tuple[object, str], **columns: object) -> pd.DataFrame:
    """A row for each (item, language), with texts that tell which."""
    frame = pd.DataFrame(present, columns=["item", "language"])
    name = frame["item"].astype(str) + frame.language
    frame = frame.assign(query="q" + name, passage="p" + name, passage_group=frame["item"], domain="d", dataset="s")
    return frame.assign(**columns)


def full(items: int, *languages: str) -> ParallelCorpus:
    return ParallelCorpus.from_frame(rows_of(*[(i, code) for i in range(items) for code in languages]), languages)


def present(corpus: ParallelCorpus) -> dict[str, set[int]]:
    """The items that exist in each language, row by row."""
    found: dict[str, set[int]] = {code: set() for code in corpus.languages}
    for row in corpus.table:
        if row["passage"]:
            found[row["language"]].add(row["item"])
    return found


# --- the grid


def test_row_number_is_item_times_languages_plus_language():
    corpus = full(7, "sw", "en", "th")
    assert corpus.table.column_names == COLUMNS
    assert len(corpus) == 7 and len(corpus.table) == 21
    assert corpus.languages == ("sw", "en", "th")
    for number, row in enumerate(corpus.table):
        item, language = divmod(number, 3)
        code = corpus.languages[language]
        assert (row["item"], row["language"]) == (item, code)
        assert (row["query"], row["passage"]) == (f"q{item}{code}", f"p{item}{code}")


def test_missing_items_are_empty_and_items_keep_their_order_of_appearance():
    frame = rows_of(("x", "en"), ("b", "de"), ("x", "de"), ("a", "en"))
    corpus = ParallelCorpus.from_frame(frame, ["de", "en"])
    assert list(corpus.table["passage"]) == ["pxde", "pxen", "pbde", "", "", "paen"]
    assert list(corpus.table["query"]) == ["qxde", "qxen", "qbde", "", "", "qaen"]
    assert list(corpus.table["item"]) == [0, 0, 1, 1, 2, 2]
    assert corpus.sizes().to_dict() == {"de": 2, "en": 2}


def test_groups_are_numbered_and_the_same_in_all_languages():
    frame = rows_of((1, "en"), (2, "en"), (3, "en"), (2, "de"), passage_group=["g", "h", "g", "h"])
    corpus = ParallelCorpus.from_frame(frame, ["de", "en"])
    assert list(corpus.table["passage_group"]) == [0, 0, 1, 1, 0, 0]


def test_rows_in_other_languages_are_left_out():
    corpus = ParallelCorpus.from_frame(rows_of((1, "en"), (1, "fr"), (2, "fr")), ["en"])
    assert list(corpus.table["passage"]) == ["p1en"]


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.sets(st.tuples(st.integers(0, 12), st.sampled_from(["en", "de", "fi"])), min_size=1))
def test_the_grid_holds_exactly_the_rows_it_was_built_from(cells):
    frame = rows_of(*sorted(cells)).sample(frac=1, random_state=0)
    corpus = ParallelCorpus.from_frame(frame, ["fi", "de", "en"])
    items = list(dict.fromkeys(frame["item"]))
    texts = {(row["item"], row["language"]): (row["query"], row["passage"]) for row in corpus.table}
    assert len(texts) == len(corpus.table) == 3 * len(items)
    for (number, code), (query, passage) in texts.items():
        item = items[number]
        expected = (f"q{item}{code}", f"p{item}{code}") if (item, code) in cells else ("", "")
        assert (query, passage) == expected
    assert corpus.sizes().to_dict() == {code: sum(c == code for _, c in cells) for code in ("fi", "de", "en")}


def test_a_corpus_may_lie_on_disk(tmp_path):
    corpus = full(5, "en", "de")
    corpus.table.save_to_disk(tmp_path / "table")
    mapped = ParallelCorpus(datasets.load_from_disk(str(tmp_path / "table")))
    assert mapped.sizes().to_dict() == {"en": 5, "de": 5}
    assert mapped.thin({"de": 0.5}).sizes().to_dict() == {"en": 5, "de": 3}


@pytest.mark.parametrize(
    ("frame", "languages", "message"),
    [
        (rows_of((1, "en")).drop(columns="domain"), ["en"], "frame lacks the column 'domain'; it has"),
        (rows_of((1, "en")), ["en", "de", "en"], "names one twice"),
        (rows_of((1, "en")), ["de", "fr"], r"no item in any of the languages \['de', 'fr'\]"),
        (rows_of((1, "en")), [], r"no item in any of the languages \[\]"),
        (rows_of((1, "en"), (7, "en"), (7, "en")), ["en"], "item 7 comes twice in language en"),
    ],
)
def test_a_frame_that_is_no_grid_is_refused(frame, languages, message):
    with pytest.raises(ValueError, match=message):
        ParallelCorpus.from_frame(frame, languages)


# --- thinning


@pytest.mark.parametrize(
    ("items", "share", "kept"),
    [
        (101, 0.1, 11),  # ceil(10.1)
        (97, 0.5, 49),  # ceil(48.5)
        (100, 0.07, 7),  # 0.07 * 100 is 7.000000000000001 in floating point
        (100, 0.29, 29),  # 0.29 * 100 is 28.999999999999996
        (7, 5 / 7, 5),
        (13, 1e-6, 1),
        (13, 0, 0),
        (13, 1, 13),
        (1, 0.5, 1),
    ],
)
def test_a_share_of_the_items_stays_rounded_up(items, share, kept):
    corpus = full(items, "en", "sw").thin({"sw": share})
    assert corpus.sizes().to_dict() == {"en": items, "sw": kept}


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    items=st.sampled_from([1, 2, 17, 53]),
    shares=st.lists(st.integers(0, 100), min_size=2, max_size=2),
    seed=st.integers(0, 2**32),
)
def test_the_items_of_a_smaller_share_are_among_those_of_a_larger(items, shares, seed):
    low, high = sorted(shares)
    share = {"de": high / 100, "en": low / 100, "fi": low / 100}
    kept = present(full(items, "de", "en", "fi", "sw").thin(share, seed))
    assert kept["en"] == kept["fi"] <= kept["de"] <= kept["sw"] == set(range(items))
    assert len(kept["en"]) == math.ceil(Fraction(low, 100) * items)
    assert len(kept["de"]) == math.ceil(Fraction(high, 100) * items)


def test_thinning_empties_question_and_passage_and_changes_nothing_else():
    corpus = full(11, "en", "sw")
    thinned = corpus.thin({"sw": 0.3})
    for before, after in zip(corpus.table, thinned.table, strict=True):
        gone = after["passage"] == ""
        assert after == (before | {"query": "", "passage": ""} if gone else before)
        assert not (gone and after["language"] == "en")
    assert corpus.sizes().to_dict() == {"en": 11, "sw": 11}
    assert thinned.table.features == corpus.table.features


def test_another_seed_keeps_other_items_and_the_same_seed_the_same():
    corpus = full(60, "en", "sw")
    assert present(corpus.thin({"sw": 0.5}, 1)) == present(corpus.thin({"sw": 0.5}, 1))
    assert present(corpus.thin({"sw": 0.5}, 1)) != present(corpus.thin({"sw": 0.5}, 2))


def test_thinning_does_not_bring_missing_items_back():
    corpus = ParallelCorpus.from_frame(rows_of((0, "en"), (1, "en"), (2, "sw"), (2, "en")), ["en", "sw"])
    assert present(corpus.thin({"sw": 1.0}))["sw"] == {2}
    kept = present(full(3, "sw").thin({"sw": 0.5}))["sw"]  # the items that thinning lets stay: 2 of 3
    assert present(corpus.thin({"sw": 0.5}))["sw"] == {2} & kept


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ({"xx": 0.5}, "available: unknown language 'xx'; the corpus has en, sw"),
        ({"sw": 1.5}, "available: sw is 1.5; allowed: 0 to 1"),
        ({"sw": -0.1}, "available: sw is -0.1; allowed: 0 to 1"),
        ({"sw": math.nan}, "available: sw is nan; allowed: 0 to 1"),
    ],
)
def test_shares_that_make_no_sense_are_refused(share, message):
    with pytest.raises(ValueError, match=message):
        full(3, "en", "sw").thin(share)


def test_the_share_of_the_other_languages_is_as_if_each_were_named():
    corpus = full(41, "de", "en", "sw")
    thinned = corpus.thin({"sw": 0.9}, 3, others=0.2)
    named = corpus.thin({"sw": 0.9, "de": 0.2, "en": 0.2}, 3)
    assert thinned.table.to_dict() == named.table.to_dict()
    assert thinned.sizes().to_dict() == {"de": 9, "en": 9, "sw": 37}  # ceil(8.2) and ceil(36.9)
    assert corpus.thin({}, others=0.5).sizes().to_dict() == {"de": 21, "en": 21, "sw": 21}
    assert corpus.thin({"de": 1.0}, others=0).sizes().to_dict() == {"de": 41, "en": 0, "sw": 0}


@pytest.mark.parametrize("others", [1.5, -0.1, math.nan])
def test_a_share_of_the_others_that_makes_no_sense_is_refused(others):
    with pytest.raises(ValueError, match=f"others is {others}; allowed: 0 to 1"):
        full(3, "en", "sw").thin({}, others=others)


# --- composing


def mixed(*languages: str) -> ParallelCorpus:
    """29 items in turn of three domains: 10 of a, 10 of b, 9 of c; pairs of them share a group, the third lacks the
    last of several languages."""
    frame = rows_of(*[(i, code) for i in range(29) for code in languages])
    frame = frame.assign(domain=[("a", "b", "c")[i % 3] for i in frame["item"]], passage_group=frame["item"] // 2)
    missing = (frame["item"] == 2) & (frame.language == languages[-1]) & (len(languages) > 1)
    return ParallelCorpus.from_frame(frame[~missing], languages)


def queries_of(corpus: ParallelCorpus) -> set[str]:
    return set(corpus.table["query"]) - {""}


@pytest.mark.parametrize("items", [{"a": 4, "c": 9}, {"b": 1}, {"c": 2, "b": 10, "a": 0}])
def test_composing_keeps_so_many_items_of_each_domain_and_none_of_the_others(items):
    corpus = mixed("en", "sw")
    part = corpus.compose(items, seed=5)
    table = part.table.to_pandas()
    counts = table[table.language == "en"].domain.value_counts().to_dict()
    assert counts == {name: number for name, number in items.items() if number}
    assert len(part) == sum(items.values()) and part.languages == ("en", "sw")
    # What is kept is whole and in its old order, and the missing stay missing; items and groups are numbered anew.
    old = corpus.table.to_pandas()
    kept = old[old["item"].isin(old["item"][old["query"].isin(table["query"][table["query"] != ""])])]
    texts = ["language", "query", "passage", "domain", "dataset"]
    assert table[texts].to_numpy().tolist() == kept[texts].to_numpy().tolist()
    assert table["item"].tolist() == [n for n in range(len(part)) for _ in ("en", "sw")]
    assert table.passage_group.tolist() == pd.factorize(kept.passage_group)[0].tolist()
    assert len(corpus) == 29  # as it was


@settings(deadline=None, max_examples=10, derandomize=True)
@given(
    numbers=st.lists(st.integers(0, 9), min_size=6, max_size=6).filter(lambda n: any(n[:3])), seed=st.integers(0, 99)
)
def test_the_items_of_a_smaller_number_are_among_those_of_a_larger(numbers, seed):
    corpus = mixed("en")
    small = dict(zip("abc", numbers[:3], strict=True))
    large = {name: max(small[name], more) for name, more in zip("abc", numbers[3:], strict=True)}
    assert queries_of(corpus.compose(small, seed)) <= queries_of(corpus.compose(large, seed))
    # Domains are chosen from apart: what is kept of one does not depend on the numbers of the others.
    alone = [corpus.compose({name: number}, seed) for name, number in small.items() if number]
    assert queries_of(corpus.compose(small, seed)) == set().union(*map(queries_of, alone))


def test_another_seed_composes_of_other_items_and_the_same_seed_of_the_same():
    corpus = mixed("en")
    one, again, other = (queries_of(corpus.compose({"a": 5, "b": 5}, seed)) for seed in (1, 1, 2))
    assert one == again != other


def test_no_item_is_preferred_in_composing():
    # Each of the ten items of a is kept for half of 100 seeds; the bound is four deviations, 4 * sqrt(100 / 4) = 20.
    corpus = mixed("en")
    kept = pd.Series([text for seed in range(100) for text in queries_of(corpus.compose({"a": 5}, seed))])
    counts = kept.value_counts()
    assert len(counts) == 10 and (counts - 50).abs().max() < 20


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ({"a": 11}, r"items: 'a' is 11; allowed: 0 to what there is: a \(10\), b \(10\), c \(9\)$"),
        ({"a": 3, "c": -1}, r"items: 'c' is -1; allowed: 0 to what there is: a \(10\)"),
        ({"d": 1}, r"items: 'd' is 1; allowed: 0 to what there is: a \(10\)"),
        ({"a": 0}, r"items is {'a': 0}; it must keep at least one item"),
        ({}, r"items is {}; it must keep at least one item"),
    ],
)
def test_numbers_of_items_that_there_are_not_are_refused(items, message):
    with pytest.raises(ValueError, match=message):
        mixed("en", "sw").compose(items)


# --- hard negatives


def with_negatives() -> ParallelCorpus:
    frame = rows_of(*[(i, code) for i in range(9) for code in ("en", "sw")], domain=["a", "b", "b"] * 6)
    return ParallelCorpus.from_frame(frame.assign(negative="n" + frame["query"]).iloc[:-1], ["en", "sw"])


def test_a_negative_comes_and_goes_with_its_row():
    corpus = with_negatives()
    assert corpus.table.column_names == [*COLUMNS, "negative"]
    for made in (corpus, corpus.thin({"sw": 0.4}), corpus.compose({"b": 4})):
        for row in made.table:
            assert row["negative"] == ("n" + row["query"] if row["query"] else "")
    assert sum(text == "" for text in corpus.table["negative"]) == 1  # the missing item
    assert corpus.thin({"sw": 0.4}).sizes().to_dict()["sw"] < 8


# --- corpora larger than memory


@pytest.fixture
def pieces(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pieces of at most seven rows, and the folder of tables."""
    monkeypatch.setattr("hybridlib.data.grid.ROWS_AT_ONCE", 7)
    return cache


def on_disk(corpus: ParallelCorpus, folder: Path) -> ParallelCorpus:
    corpus.table.save_to_disk(folder)
    return ParallelCorpus(datasets.load_from_disk(str(folder)))


@settings(
    deadline=None,
    max_examples=10,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    languages=st.sampled_from([("en",), ("en", "sw"), ("sw", "th", "en")]),
    share=st.integers(0, 10),
    numbers=st.tuples(st.integers(1, 10), st.integers(0, 9)),
    seed=st.integers(0, 99),
)
def test_what_is_made_of_a_mapped_table_is_what_is_made_in_memory(pieces, languages, share, numbers, seed):
    corpus = mixed(*languages)
    items = {"b": numbers[0], "c": numbers[1]}
    with tempfile.TemporaryDirectory() as folder:
        mapped = on_disk(corpus, Path(folder))
        thinned = mapped.compose(items, seed).thin({"en": share / 10}, seed, others=0.5)
        assert Path(thinned.table.cache_files[0]["filename"]).parent == pieces
        expected = corpus.compose(items, seed).thin({"en": share / 10}, seed, others=0.5)
        assert not expected.table.cache_files
        assert thinned.table.to_dict() == expected.table.to_dict()
        assert thinned.table.features == expected.table.features == corpus.table.features
        assert thinned.sizes().to_dict() == expected.sizes().to_dict()


def test_what_is_made_of_a_mapped_table_is_made_once(pieces, tmp_path, monkeypatch):
    mapped = on_disk(mixed("en", "sw"), tmp_path / "table")
    first = mapped.thin({"sw": 0.5}).table
    files = {path.name for path in pieces.glob("*.arrow")}
    monkeypatch.setattr("hybridlib.data.table._write", lambda *_: pytest.fail("made again"))
    assert mapped.thin({"sw": 0.5}).table.to_dict() == first.to_dict()
    assert {path.name for path in pieces.glob("*.arrow")} == files and len(files) == 1
    # Another share, seed, way or table is another file.
    others = [lambda: mapped.thin({"sw": 0.4}), lambda: mapped.thin({"sw": 0.5}, 1), lambda: mapped.compose({"a": 5})]
    others.append(lambda: on_disk(mixed("sw", "en"), tmp_path / "other").thin({"sw": 0.5}))
    for make in others:
        with pytest.raises(pytest.fail.Exception, match="made again"):
            make()


def test_availability_is_read_through_chosen_rows(tmp_path):
    mapped = on_disk(mixed("en", "sw"), tmp_path / "table")
    chosen = [row for item in (28, 3, 2) for row in (2 * item, 2 * item + 1)]
    part = ParallelCorpus(mapped.table.select(chosen))
    assert part.sizes().to_dict() == {"en": 3, "sw": 2}  # item 2 lacks sw


# --- corpora together


def renamed(corpus: ParallelCorpus, name: str) -> ParallelCorpus:
    frame = corpus.table.to_pandas()
    return ParallelCorpus.from_frame(frame[frame.passage != ""].assign(dataset=name), corpus.languages)


@pytest.mark.parametrize("mapping", [False, True])
def test_joined_corpora_keep_their_texts_and_have_items_and_groups_of_their_own(pieces, tmp_path, mapping):
    parts = [renamed(mixed("en", "sw"), "one"), renamed(mixed("th", "en"), "two"), renamed(full(2, "sw"), "three")]
    if mapping:
        parts = [on_disk(part, tmp_path / str(n)) for n, part in enumerate(parts)]
    joined = ParallelCorpus.joined(parts, ["sw", "th", "en"])
    assert bool(joined.table.cache_files) == mapping
    assert joined.languages == ("sw", "th", "en")
    # The plain way: a frame of all rows, items and groups told apart by the dataset's name.
    frames = [part.table.to_pandas() for part in parts]
    frame = pd.concat([frame[frame.passage != ""] for frame in frames])
    for name in ("item", "passage_group"):
        frame[name] = frame["dataset"] + frame[name].astype(str)
    expected = ParallelCorpus.from_frame(frame, ["sw", "th", "en"])
    assert joined.table.to_dict() == expected.table.to_dict()
    assert joined.table.features == expected.table.features
    segments = [(segment.name, segment.start, segment.items) for segment in joined.availability.segments]
    assert segments == [("one", 0, 29), ("two", 29, 29), ("three", 58, 2)]


def test_corpora_with_and_without_negatives_can_be_joined():
    joined = ParallelCorpus.joined([with_negatives(), renamed(full(2, "en"), "other")], ["en"])
    assert list(joined.table["negative"]) == [f"nq{n}en" for n in range(9)] + ["", ""]


def test_batches_of_joined_corpora_are_of_one_dataset_by_its_temperature():
    corpus = ParallelCorpus.joined(
        [renamed(mixed("en", "sw"), "one"), renamed(full(400, "en", "sw"), "two")], ["en", "sw"]
    )
    # Half of the batches each, whatever the sizes; the bound is four deviations of 400 throws of a coin, 40.
    sampler = HybridBatchSampler(corpus.table, 4, strategy="x-y", dataset_temperature=math.inf)
    drawn = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        drawn += [{item < 29 for item in sampler.draw(number)[0].tolist()} for number in range(100)]
    assert all(len(kinds) == 1 for kinds in drawn)
    assert abs(sum(kinds == {True} for kinds in drawn) - 200) < 40


def test_joining_by_name_is_joining_what_has_the_names():
    corpus = load_corpus("atlas+atlas-names", languages=["en", "sw"])
    parts = [load_corpus(name, languages=["en", "sw"]) for name in ("atlas", "atlas-names")]
    assert corpus.table.to_dict() == ParallelCorpus.joined(parts, ["en", "sw"]).table.to_dict()


def test_a_corpus_lacks_the_languages_that_only_another_has(tiny):
    corpus = load_corpus("xquad-r+atlas-names", languages=["sw", "de"])
    assert corpus.languages == ("sw", "de")
    sizes = {segment.name: [int(segment.count(n, n)) for n in (0, 1)] for segment in corpus.availability.segments}
    questions = len(load_corpus("xquad-r", languages=["de"]))
    assert sizes == {"xquad-r": [0, questions], "atlas-names": [len(atlas_names())] * 2}
    # A corpus that has none of the languages is left out.
    assert len(load_corpus("xquad-r+atlas-names", languages=["sw"])) == len(atlas_names())
    assert load_corpus("xquad-r+atlas-names").languages[:3] == ("de", "en", "ar")
    part = load_corpus("xquad-r+atlas-names", languages=["sw", "de"], items={"wikipedia": 2, "city": 3}, others=0.5)
    assert pd.Series(part.table["domain"][::2]).value_counts().to_dict() == {"city": 3, "wikipedia": 2}


# --- the named corpora


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_atlas_holds_the_facts_of_the_split_in_all_languages(split):
    facts = atlas_facts(5)
    corpus = load_corpus("atlas", split, seed=5)
    texts = atlas_texts(facts, 5)
    texts = texts[texts.fact.isin(facts.fact[facts.split == split])]
    assert corpus.languages == LANGUAGES
    table = corpus.table.to_pandas()
    for column in ("language", "query", "passage"):
        assert table[column].tolist() == texts[column].tolist()
    assert table["domain"].tolist() == facts.set_index("fact").domain[texts.fact].tolist()
    assert set(table["dataset"]) == {"atlas"}
    assert (table["passage_group"] == table["item"]).all()  # every fact has a passage of its own


def test_languages_are_taken_in_the_order_given_and_thinned_with_the_seed():
    corpus = load_corpus("atlas", languages=["th", "en"], available={"en": 0.25})
    assert corpus.languages == ("th", "en")
    assert corpus.sizes().to_dict() == {"th": len(corpus), "en": math.ceil(len(corpus) / 4)}
    whole = load_corpus("atlas", languages=["th", "en"])
    assert present(corpus) == present(whole.thin({"en": 0.25}, 0))


def test_a_corpus_is_composed_first_and_thinned_then():
    items = {"money": 30, "writing": 7}
    corpus = load_corpus("atlas", languages=["en", "sw", "th"], items=items, available={"sw": 0.5}, others=0.1, seed=4)
    whole = load_corpus("atlas", languages=["en", "sw", "th"], seed=4)
    assert corpus.table.to_dict() == whole.compose(items, 4).thin({"sw": 0.5}, 4, others=0.1).table.to_dict()
    # Shares are of the 37 items that were chosen: ceil(3.7) and ceil(18.5).
    assert corpus.sizes().to_dict() == {"en": 4, "sw": 19, "th": 4}
    assert pd.Series(corpus.table["domain"][::3]).value_counts().to_dict() == items


def test_all_languages_are_thinned_alike_where_others_stands_alone():
    corpus = load_corpus("atlas", languages=["en", "sw"], others=0.25)
    assert set(corpus.sizes()) == {math.ceil(len(corpus) / 4)}
    assert present(corpus)["en"] == present(corpus)["sw"]


def test_what_is_made_of_the_atlas_leaves_the_atlas_that_is_kept_as_it_is():
    before = _facts_as_items("train", 0).copy(deep=True)
    first = load_corpus("atlas", languages=["en", "sw"])
    load_corpus("atlas", languages=["sw"], items={"money": 10}, available={"sw": 0.1}, others=0.0)
    mine = first.table.to_pandas()
    mine.loc[:, ["query", "passage", "domain"]] = "mine"
    pd.testing.assert_frame_equal(_facts_as_items("train", 0), before)
    assert load_corpus("atlas", languages=["en", "sw"]).table.to_dict() == first.table.to_dict()
    assert set(first.table["dataset"]) == {"atlas"} and "mine" not in first.table["query"]


def test_atlas_names_are_question_and_passage_alike():
    corpus = load_corpus("atlas-names")
    assert len(corpus) == len(atlas_names())
    assert corpus.languages == LANGUAGES
    table = corpus.table.to_pandas()
    assert table["query"].tolist() == table["passage"].tolist() == atlas_names().to_numpy().ravel().tolist()


def test_atlas_names_that_are_alike_in_some_language_share_a_group():
    table = load_corpus("atlas-names").table.to_pandas()
    table["name"] = table["passage"].str.casefold()
    assert (table.groupby(["language", "name"]).passage_group.nunique() == 1).all()
    # Mostly a name is alone, so groups are few in number and small: Luxembourg is city, territory and language.
    assert table.groupby("passage_group")["item"].nunique().max() <= 5
    assert table.passage_group.nunique() > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "squad"}, f"corpus is 'squad'; allowed: {', '.join(CORPORA)}, or several different ones joined by"),
        ({"name": "atlas+squad"}, r"corpus is 'atlas\+squad'; allowed: atlas, "),
        ({"name": "atlas+atlas"}, r"corpus is 'atlas\+atlas'; allowed: atlas, .* several different ones"),
        ({"name": "atlas+atlas-names", "languages": ["xx"]}, r"'xx' is not in atlas\+atlas-names; allowed: ar, bn, de"),
        ({"name": "atlas+xquad-r", "split": "validation"}, "split is 'validation'; allowed: train, test"),
        ({"name": "atlas", "split": "dev"}, "split is 'dev'; allowed: train, validation, test"),
        ({"name": "atlas-names", "split": "test"}, "split is 'test'; allowed: train$"),
        ({"name": "atlas", "languages": ["en", "xx"]}, "languages: 'xx' is not in atlas; allowed: ar, bn, de"),
        ({"name": "atlas", "languages": ["en", "en"]}, "names one twice"),
        ({"name": "atlas", "languages": []}, "languages names none; allowed in atlas: ar, bn"),
        ({"name": "atlas", "languages": ["en"], "available": {"sw": 0.1}}, "unknown language 'sw'; the corpus has en"),
        ({"name": "atlas", "languages": ["en"], "others": 1.5}, "others is 1.5; allowed: 0 to 1"),
        (
            {"name": "atlas", "items": {"sports": 5}},
            r"items: 'sports' is 5; allowed: 0 to what there is: \w+ \(\d+\), ",
        ),
        ({"name": "atlas", "items": {"money": 0}}, "items is {'money': 0}; it must keep at least one item"),
    ],
)
def test_arguments_that_name_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_corpus(**arguments)


# --- XQuAD-R


@pytest.fixture
def tiny(publish) -> LareqaData:
    """Two languages, four articles. Of article A, questions 1 and 2 share a sentence in English only, 2 and 4 in German
    only; 3 has sentences of its own. So 1, 2 and 4 are a group."""
    sentences = {  # language: article: the questions that each sentence answers
        "en": {"A": ["12", "3", "4"], "B": ["5"], "C": ["6"], "D": ["7"]},
        "de": {"A": ["1", "24", "3"], "B": ["5"], "C": ["6"], "D": ["7"]},
    }
    contents = {}
    for code, articles in sentences.items():
        data = []
        for title, answered in articles.items():
            texts = [f"sentence {title}{n} {code}" for n in range(len(answered))]
            context = " ".join(texts)
            begins = [context.index(text) for text in texts]
            asked = [(key, begin) for keys, begin in zip(answered, begins, strict=True) for key in keys]
            paragraph = {
                "context": context,
                "sentence_breaks": [[begin, begin + len(texts[0])] for begin in begins],
                "qas": [
                    {"id": key, "question": f"question {key} {code}", "answers": [{"answer_start": n, "text": "sent"}]}
                    for key, n in sorted(asked)
                ],
            }
            data.append({"title": title, "paragraphs": [paragraph]})
        contents[f"{code}.json"] = json.dumps({"data": data})
    publish(XQUAD_R, contents, only=True)
    return read_xquad_r()


def test_question_and_passage_of_a_row_are_in_the_language_of_the_row(tiny):
    corpus = load_corpus("xquad-r")
    assert corpus.languages == ("de", "en")
    for row in corpus.table:
        assert row["query"].endswith(row["language"])
        assert row["passage"].endswith(row["language"])


def test_questions_that_share_a_sentence_in_one_language_only_share_a_group(tiny, monkeypatch):
    groups = tiny.passage_groups()
    assert groups["1"] == groups["2"] == groups["4"]
    assert groups[["1", "3", "5", "6", "7"]].is_unique
    monkeypatch.setattr(
        "hybridlib.data.sources.lareqa.split_articles", lambda data, seed: {"train": ["A", "B"], "test": []}
    )
    english = load_corpus("xquad-r").table.filter(lambda row: row["language"] == "en")
    group = dict(zip(english["query"], english["passage_group"], strict=True))
    assert group == {f"question {n} en": {"3": 1, "5": 2}.get(n, 0) for n in "12345"}


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 4])
def test_no_text_of_a_held_out_article_is_trained_on(tiny, seed):
    train, test = (load_corpus("xquad-r", split, seed=seed).table for split in ("train", "test"))
    # A quarter of four articles is one.
    assert len({text.split()[1][0] for text in test["passage"]}) == 1
    assert not set(train["passage"]) & set(test["passage"])
    assert not set(train["query"]) & set(test["query"])
    task = load_task("xquad-r", "test", seed=seed)
    assert set(task.passages.text) == set(test["passage"])
    assert set(task.queries.text) == set(test["query"])


def test_xquad_r_has_the_splits_train_and_test(tiny):
    with pytest.raises(ValueError, match="split is 'validation'; allowed: train, test"):
        load_corpus("xquad-r", "validation")


def test_rows_of_xquad_r_are_a_question_and_its_answer_in_the_language_of_the_row(real_data):
    data = read_xquad_r()
    corpus = load_corpus("xquad-r")
    assert len(corpus.languages) == 11
    articles = set(split_articles(data, 0)["train"])
    queries = data.queries[data.queries.article.isin(articles)]
    assert corpus.sizes().to_dict() == queries.language.value_counts().to_dict()
    passages = data.passages.set_index("passage_id")
    answers = data.qrels.assign(language=data.qrels.passage_id.map(passages.language))
    answers = answers[answers.language == answers.query_id.str.partition(":")[0]].set_index("query_id").passage_id
    expected = {
        (language, text, passages.text[answers[query_id]])
        for query_id, language, text in queries[["query_id", "language", "text"]].itertuples(index=False)
    }
    table = corpus.table.to_pandas()
    assert set(table[["language", "query", "passage"]].itertuples(index=False, name=None)) == expected


def test_held_out_articles_of_xquad_r_are_never_trained_on(real_data):
    train, test = load_corpus("xquad-r").table.to_pandas(), load_task("xquad-r", "test")
    assert not set(train["query"]) & set(test.queries.text)
    assert not set(train["passage"]) & set(test.passages.text)
    whole = load_task("xquad-r")
    # 48 articles, a quarter of them held out; no question lies in neither part.
    assert len(train) + len(test.queries) == len(whole.queries) == 13_090


def test_an_unknown_domain_is_refused_even_with_no_items() -> None:
    with pytest.raises(ValueError, match=r"items: 'xx' is 0; allowed: 0 to what there is: money"):
        load_corpus("atlas", languages=["en"]).compose({"xx": 0, "money": 5})
