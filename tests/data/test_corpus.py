"""Tests of training data: the grid of items by languages, thinning, composing, joining, and the named corpora."""

import json
import math
import tempfile
from fractions import Fraction
from pathlib import Path

import datasets
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from hybridlib.data.atlas.facts import LANGUAGES, atlas_facts, atlas_names, atlas_texts
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.folds import FOLDS, articles_of, read_folds
from hybridlib.data.load import CORPORA, load_corpus, load_task
from hybridlib.data.sources.lareqa import XQUAD_R, LareqaData, read_xquad_r

COLUMNS = ["item", "language", "query", "passage", "passage_group", "domain", "dataset"]


def rows_of(*present: tuple[object, str], **columns: object) -> pd.DataFrame:
    """Make a row for each (item, language); its texts name both."""
    frame = pd.DataFrame(present, columns=["item", "language"])
    name = frame["item"].astype(str) + frame.language
    frame = frame.assign(query="q" + name, passage="p" + name, passage_group=frame["item"], domain="d", dataset="s")
    return frame.assign(**columns)


def full(items: int, *languages: str) -> ParallelCorpus:
    """Make a corpus in which no item is missing."""
    return ParallelCorpus.from_frame(rows_of(*[(i, code) for i in range(items) for code in languages]), languages)


def present(corpus: ParallelCorpus) -> dict[str, set[int]]:
    """Collect the items that exist in each language, row by row."""
    rows = [row for row in corpus.table if row["passage"]]
    return {code: {row["item"] for row in rows if row["language"] == code} for code in corpus.languages}


# --- the grid


@settings(deadline=None, max_examples=25, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from("abcdefghijkl"), st.sampled_from(["en", "de", "fr", "fi"])), unique=True))
def test_the_grid_holds_exactly_the_rows_it_was_built_from_item_by_item_and_language_by_language(cells):
    languages = tuple(code for code in ("fi", "de", "en") if code in {code for _, code in cells})  # French is left out
    items = list(dict.fromkeys(item for item, code in cells if code in languages))  # in order of appearance
    assume(items)
    groups = list(dict.fromkeys(ord(item) % 3 for item in items))
    frame = rows_of(*cells, passage_group=[f"group {ord(item) % 3}" for item, _ in cells])
    corpus = ParallelCorpus.from_frame(frame, languages)
    texts = {cell: (f"q{''.join(cell)}", f"p{''.join(cell)}") for cell in cells}
    assert corpus.table.column_names == COLUMNS
    assert [tuple(row.values()) for row in corpus.table] == [
        (n, code, *texts.get((item, code), ("", "")), groups.index(ord(item) % 3), "d", "s")
        for n, item in enumerate(items)
        for code in languages
    ]
    assert corpus.languages == languages and len(corpus) == len(items)
    assert corpus.sizes().to_dict() == {code: sum(c == code for _, c in cells) for code in languages}


@pytest.mark.parametrize(
    ("frame", "languages", "message"),
    [
        (rows_of((1, "en")).drop(columns="domain"), ["en"], "frame lacks the column 'domain'; it has"),
        (rows_of((1, "en"), (1, "de")), ["en", "de", "en"], r"languages \['en', 'de', 'en'\] names one twice$"),
        (rows_of((1, "en"), (1, "sw")), ["de", "fr"], "languages: 'de' is not in the frame; allowed: en, sw$"),
        (rows_of((1, "en")), [], "languages names none; allowed in the frame: en$"),
        (rows_of((1, "en"), (7, "en"), (7, "en")), ["en"], "frame: item 7 comes twice in language en; allowed: once$"),
    ],
)
def test_a_frame_that_is_no_grid_is_refused(frame, languages, message):
    with pytest.raises(ValueError, match=message):
        ParallelCorpus.from_frame(frame, languages)


# --- thinning


@pytest.mark.parametrize(
    ("items", "share", "kept"),
    [
        (100, 0.07, 7),  # 0.07 * 100 is 7.000000000000001 in floating point
        (100, 0.29, 29),  # 0.29 * 100 is 28.999999999999996
        (7, 5 / 7, 5),
        (13, 1e-6, 1),
    ],
)
def test_a_share_of_the_items_stays_rounded_up(items, share, kept):
    assert full(items, "en", "sw").thin({"sw": share}).sizes().to_dict() == {"en": items, "sw": kept}


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    items=st.sampled_from([1, 2, 17, 53]), share=st.integers(0, 100), more=st.integers(0, 100), seed=st.integers(0, 99)
)
@example(items=13, share=0, more=100, seed=0)
def test_the_items_of_a_smaller_share_are_among_those_of_a_larger(items, share, more, seed):
    low, high = sorted((share, more))
    kept = present(full(items, "de", "en", "fi", "sw").thin({"de": high / 100, "sw": 1.0}, seed, others=low / 100))
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


def test_thinning_does_not_bring_missing_items_back():
    corpus = ParallelCorpus.from_frame(rows_of((0, "en"), (1, "en"), (2, "sw"), (2, "en")), ["en", "sw"])
    assert present(corpus.thin({"sw": 1.0}))["sw"] == {2}
    kept = present(full(3, "sw").thin({"sw": 0.5}))["sw"]  # thinning keeps 2 of 3 items
    assert present(corpus.thin({"sw": 0.5}))["sw"] == {2} & kept


@pytest.mark.parametrize(
    ("share", "others", "message"),
    [
        ({"xx": 0.5}, 1.0, "available: unknown language 'xx'; the corpus has en, sw"),
        ({"sw": 1.5}, 1.0, "available.sw is 1.5; allowed: less than or equal to 1"),
        ({"sw": -0.1}, 1.0, "available.sw is -0.1; allowed: greater than or equal to 0"),
        ({"sw": math.nan}, 1.0, "available.sw is nan; allowed: "),
        ({}, 1.5, "others is 1.5; allowed: less than or equal to 1"),
        ({}, -0.1, "others is -0.1; allowed: greater than or equal to 0"),
        ({}, math.nan, "others is nan; allowed: "),
    ],
)
def test_shares_that_make_no_sense_are_refused(share, others, message):
    with pytest.raises(ValueError, match=message):
        full(3, "en", "sw").thin(share, others=others)


def test_the_share_of_the_other_languages_is_as_if_each_were_named():
    corpus = full(41, "de", "en", "sw")
    thinned = corpus.thin({"sw": 0.9}, 3, others=0.2)
    assert thinned.table.to_dict() == corpus.thin({"sw": 0.9, "de": 0.2, "en": 0.2}, 3).table.to_dict()
    assert thinned.sizes().to_dict() == {"de": 9, "en": 9, "sw": 37}  # ceil(8.2) and ceil(36.9)


# --- composing


def mixed(*languages: str, dataset: str = "s") -> ParallelCorpus:
    """Make 29 items, whose domains are a, b and c in turn: 10 of a, 10 of b, 9 of c. Pairs of items share a group. Item
    2 is missing in the last of several languages."""
    there = [(i, code) for i in range(29) for code in languages if (i, code) != (2, languages[-1]) or not languages[1:]]
    frame = rows_of(*there, domain=["abc"[i % 3] for i, _ in there], dataset=dataset)
    return ParallelCorpus.from_frame(frame.assign(passage_group=frame["item"] // 2), languages)


def queries_of(corpus: ParallelCorpus) -> set[str]:
    """Collect the questions that exist."""
    return set(corpus.table["query"]) - {""}


@pytest.mark.parametrize("items", [{"a": 4, "c": 9}, {"b": 1}, {"c": 2, "b": 10, "a": 0}])
def test_composing_keeps_so_many_items_of_each_domain_and_none_of_the_others(items):
    corpus = mixed("en", "sw")
    part = corpus.compose(items, seed=5)
    table = part.table.to_pandas()
    counts = table[table.language == "en"].domain.value_counts().to_dict()
    assert counts == {name: number for name, number in items.items() if number}
    assert len(part) == sum(items.values()) and part.languages == ("en", "sw")
    # Items that are kept are whole and in their old order, missing texts stay missing, and numbers begin at 0 again.
    old = corpus.table.to_pandas()
    kept = old[old["item"].isin(old["item"][old["query"].isin(table["query"][table["query"] != ""])])]
    texts = ["language", "query", "passage", "domain", "dataset"]
    assert table[texts].to_numpy().tolist() == kept[texts].to_numpy().tolist()
    assert table["item"].tolist() == [n for n in range(len(part)) for _ in ("en", "sw")]
    assert table.passage_group.tolist() == pd.factorize(kept.passage_group)[0].tolist()
    assert len(corpus) == 29  # the corpus itself does not change


@settings(deadline=None, max_examples=10, derandomize=True)
@given(
    numbers=st.lists(st.integers(0, 9), min_size=6, max_size=6).filter(lambda n: any(n[:3])), seed=st.integers(0, 99)
)
def test_the_items_of_a_smaller_number_are_among_those_of_a_larger(numbers, seed):
    corpus = mixed("en")
    small = dict(zip("abc", numbers[:3], strict=True))
    large = {name: max(small[name], more) for name, more in zip("abc", numbers[3:], strict=True)}
    assert queries_of(corpus.compose(small, seed)) <= queries_of(corpus.compose(large, seed))
    # The items that are kept of one domain do not depend on the numbers of the others.
    alone = [corpus.compose({name: number}, seed) for name, number in small.items() if number]
    assert queries_of(corpus.compose(small, seed)) == set().union(*map(queries_of, alone))


@pytest.mark.parametrize(
    "part",
    [
        lambda seed: full(60, "en", "sw").thin({"sw": 0.5}, seed),
        lambda seed: mixed("en").compose({"a": 5, "b": 5}, seed),
    ],
    ids=["thin", "compose"],
)
def test_another_seed_keeps_other_items_and_the_same_seed_the_same(part):
    one, again, other = (part(seed).table.to_dict() for seed in (1, 1, 2))
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
        ({"a": 3, "c": -1}, r"items.c is -1; allowed: greater than or equal to 0$"),
        ({"d": 1}, r"items: 'd' is 1; allowed: 0 to what there is: a \(10\)"),
        ({"d": 0, "a": 5}, r"items: 'd' is 0; allowed: 0 to what there is: a \(10\)"),
        ({"a": 0}, r"items is {'a': 0}; allowed: what leaves at least one item"),
        ({}, r"items is {}; allowed: what leaves at least one item"),
    ],
)
def test_numbers_of_items_that_there_are_not_are_refused(items, message):
    with pytest.raises(ValueError, match=message):
        mixed("en", "sw").compose(items)


# --- hard negatives


def with_negatives() -> ParallelCorpus:
    frame = rows_of(*[(i, code) for i in range(9) for code in ("en", "sw")], domain=[*"aabbbb"] * 3)
    return ParallelCorpus.from_frame(frame.assign(negative="n" + frame["query"]).iloc[:-1], ["en", "sw"])


def test_a_negative_comes_and_goes_with_its_row():
    corpus = with_negatives()
    assert corpus.table.column_names == [*COLUMNS, "negative", "negative_group"]
    for row in corpus.table:
        assert row["negative"] == ("n" + row["query"] if row["query"] else "")
    assert sum(text == "" for text in corpus.table["negative"]) == 1  # of the missing item


def test_a_corpus_with_fewer_items_has_no_negatives_as_they_may_be_passages_that_were_taken_away(pieces, tmp_path):
    corpus, mapped = with_negatives(), on_disk(with_negatives(), tmp_path / "table")
    plain = ParallelCorpus(corpus.table.select_columns(COLUMNS))
    for change in (lambda one: one.thin({"sw": 0.4}), lambda one: one.compose({"b": 4}), lambda one: one.thin({})):
        assert change(corpus).table.column_names == COLUMNS
        assert change(corpus).table.to_dict() == change(mapped).table.to_dict() == change(plain).table.to_dict()


# --- corpora larger than memory


@pytest.fixture
def pieces(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make pieces of at most seven rows, and return the folder of tables."""
    monkeypatch.setattr("hybridlib.data.table.ROWS_AT_ONCE", 7)
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
    share=st.integers(1, 10),
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
    (made,) = pieces.glob("*.arrow")
    monkeypatch.setattr("hybridlib.data.table._write", lambda *_: pytest.fail("made again"))
    assert mapped.thin({"sw": 0.5}).table.to_dict() == first.to_dict()
    assert list(pieces.glob("*.arrow")) == [made]
    # Another share, another seed, composing, or another table makes another file.
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


@pytest.mark.parametrize("mapping", [False, True])
def test_joined_corpora_keep_their_texts_and_have_items_and_groups_of_their_own(pieces, tmp_path, mapping):
    # Only the last has hard negatives.
    parts = [mixed("en", "sw", dataset="one"), mixed("th", "en", dataset="two"), with_negatives()]
    if mapping:
        parts = [on_disk(part, tmp_path / str(n)) for n, part in enumerate(parts)]
    joined = ParallelCorpus.joined(parts, ["sw", "th", "en"])
    assert bool(joined.table.cache_files) == mapping
    assert joined.languages == ("sw", "th", "en")
    # The oracle is a frame of all rows, in which the dataset's name tells items and groups apart.
    frame = pd.concat([part.table.to_pandas() for part in parts]).query("passage != ''")
    for name in ("item", "passage_group"):
        frame[name] = frame["dataset"] + frame[name].astype(str)
    expected = ParallelCorpus.from_frame(frame, ["sw", "th", "en"])
    assert joined.table.to_dict() == expected.table.to_dict()
    assert joined.table.features == expected.table.features
    segments = [(segment.name, segment.start, segment.items) for segment in joined.availability.segments]
    assert segments == [("one", 0, 29), ("two", 29, 29), ("s", 58, 9)]


@pytest.mark.parametrize(
    ("languages", "own"),
    [
        (["en", "sw"], {"atlas": ["en", "sw"], "atlas-names": ["en", "sw"]}),
        (["sw", "de"], {"xquad-r": ["de"], "atlas-names": ["sw", "de"]}),
        (["sw"], {"xquad-r": [], "atlas-names": ["sw"]}),  # a corpus that has none of the languages is left out
    ],
)
def test_corpora_joined_by_name_are_each_in_those_of_the_languages_that_they_have(tiny, languages, own):
    folds = {"xquad-r": {"fold": 2}}
    parts = [load_corpus(name, languages=codes, seed=3, **folds.get(name, {})) for name, codes in own.items() if codes]
    whole = folds.get(next(iter(own)), {})
    corpus = load_corpus("+".join(own), languages=languages, seed=3, **whole)
    assert corpus.table.to_dict() == ParallelCorpus.joined(parts, languages).table.to_dict()


def test_corpora_joined_by_name_have_the_languages_of_all_and_are_composed_of_their_domains(tiny):
    assert load_corpus("xquad-r+atlas-names", fold=2).languages[:3] == ("de", "en", "ar")
    items = {"history": 2, "city": 3}
    part = load_corpus("xquad-r+atlas-names", fold=2, languages=["sw", "de"], items=items, others=0.5)
    assert pd.Series(part.table["domain"][::2]).value_counts().to_dict() == {"city": 3, "history": 2}


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


@pytest.mark.parametrize(
    ("items", "available", "others"),
    [
        ({"money": 30, "writing": 7}, {"sw": 0.5}, 0.1),
        (None, {"en": 0.25}, 1.0),
        (None, None, 0.25),
        ({"money": 30}, None, 1.0),
    ],
)
def test_a_corpus_has_the_languages_in_the_order_given_and_is_composed_first_and_thinned_then(items, available, others):
    options = {"languages": ["th", "en", "sw"], "seed": 4}
    corpus = load_corpus("atlas", **options, items=items, available=available, others=others)
    assert corpus.languages == ("th", "en", "sw")
    whole = load_corpus("atlas", **options)
    part = whole.compose(items, 4) if items else whole
    assert corpus.table.to_dict() == part.thin(available or {}, 4, others=others).table.to_dict()


def test_a_change_of_what_was_loaded_changes_nothing_that_is_loaded_later():
    first = load_corpus("atlas", languages=["en", "sw"])
    before = first.table.to_dict()
    load_corpus("atlas", languages=["sw"], items={"money": 10}, available={"sw": 0.1}, others=0.0)
    mine = first.table.to_pandas()
    mine.loc[:, ["query", "passage", "domain"]] = "mine"
    assert load_corpus("atlas", languages=["en", "sw"]).table.to_dict() == first.table.to_dict() == before


def test_atlas_names_are_question_and_passage_alike_and_share_a_group_where_they_are_alike_in_some_language():
    corpus = load_corpus("atlas-names")
    assert corpus.languages == LANGUAGES
    table = corpus.table.to_pandas()
    assert table["query"].tolist() == table["passage"].tolist() == atlas_names().to_numpy().ravel().tolist()
    assert (table.groupby(["language", table["passage"].str.casefold()]).passage_group.nunique() == 1).all()
    # Most names are unlike all others, so groups are many and small. Luxembourg is city, territory and language.
    assert table.groupby("passage_group")["item"].nunique().max() <= 5
    assert table.passage_group.nunique() > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "squad"}, f"corpus is 'squad'; allowed: {', '.join(CORPORA)}, or several different ones joined by"),
        ({"name": "atlas+squad"}, r"corpus is 'atlas\+squad'; allowed: atlas, "),
        ({"name": "atlas+atlas"}, r"corpus is 'atlas\+atlas'; allowed: atlas, .* several different ones"),
        ({"name": "atlas+atlas-names", "languages": ["xx"]}, r"'xx' is not in atlas\+atlas-names; allowed: ar, bn, de"),
        ({"name": "atlas+xquad-r", "fold": 0, "split": "validation"}, "split is 'validation'; allowed: train$"),
        ({"name": "xquad-r", "fold": 0, "split": "test"}, "split is 'test'; allowed: train$"),
        (
            {"name": "xquad-r"},
            "fold is None; allowed for the corpus xquad-r: 0 to 3, the fold to leave out, since training on all "
            "articles would leave none to test on$",
        ),
        ({"name": "xquad-r+atlas"}, "fold is None; allowed for the corpus xquad-r: 0 to 3"),
        ({"name": "xquad-r", "fold": 4}, "fold is 4; allowed: 0 to 3$"),
        ({"name": "atlas", "fold": 2}, "fold is 2; atlas has none: allowed is None$"),
        ({"name": "atlas+mmarco", "fold": 2}, r"fold is 2; atlas\+mmarco has none: allowed is None$"),
        ({"name": "atlas", "split": "dev"}, "split is 'dev'; allowed: train, validation, test"),
        ({"name": "atlas-names", "split": "test"}, "split is 'test'; allowed: train$"),
        ({"name": "atlas", "languages": ["en", "xx"]}, "languages: 'xx' is not in atlas; allowed: ar, bn, de"),
        ({"name": "atlas", "languages": ["en", "en"]}, "names one twice"),
        ({"name": "atlas", "languages": []}, "languages names none; allowed in atlas: ar, bn"),
        ({"name": "atlas", "languages": ["en"], "available": {"sw": 0.1}}, "unknown language 'sw'; the corpus has en"),
        ({"name": "atlas", "languages": ["en"], "others": 1.5}, "others is 1.5; allowed: less than or equal to 1"),
        (
            {"name": "atlas", "items": {"sports": 5}},
            r"items: 'sports' is 5; allowed: 0 to what there is: \w+ \(\d+\), ",
        ),
        ({"name": "atlas", "items": {"money": 0}}, "items is {'money': 0}; allowed: what leaves at least one item"),
    ],
)
def test_arguments_that_name_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_corpus(**arguments)


# --- XQuAD-R


@pytest.fixture
def tiny(publish) -> LareqaData:
    """Publish four articles in two languages, under titles of which one, Kenya, is in fold 2.

    In the first, questions 1 and 2 share a sentence in English only, and 2 and 4 in German only. Question 3 has
    sentences of its own. So 1, 2 and 4 are a group."""
    sentences = {  # by language and article: the questions that each sentence answers
        "en": {"Normans": ["12", "3", "4"], "Rhine": ["5"], "Kenya": ["6"], "Oxygen": ["7"]},
        "de": {"Normans": ["1", "24", "3"], "Rhine": ["5"], "Kenya": ["6"], "Oxygen": ["7"]},
    }
    contents = {}
    for code, articles in sentences.items():
        data = []
        for title, answered in articles.items():
            context = " ".join(f"sentence {title[0]}{n} {code}" for n in range(len(answered)))
            begins = [15 * n for n in range(len(answered))]  # 14 characters and a blank
            questions = [
                {"id": key, "question": f"question {key} {code}", "answers": [{"answer_start": begin, "text": "sent"}]}
                for begin, keys in zip(begins, answered, strict=True)
                for key in keys
            ]
            breaks = [[begin, begin + 14] for begin in begins]
            paragraph = {"context": context, "sentence_breaks": breaks, "qas": questions}
            data.append({"title": title, "paragraphs": [paragraph]})
        contents[f"{code}.json"] = json.dumps({"data": data})
    publish(XQUAD_R, contents, only=True)
    return read_xquad_r()


@pytest.fixture(params=["made", "real"])
def xquad_r(request) -> LareqaData:
    """Read the made files first, then the published ones."""
    if request.param == "made":
        return request.getfixturevalue("tiny")
    request.getfixturevalue("real_data")
    return read_xquad_r()


def test_questions_that_share_a_sentence_in_one_language_only_share_a_group(tiny):
    table = load_corpus("xquad-r", fold=2).table.to_pandas()
    found = table.groupby("passage_group")["query"].agg(set).tolist()
    # Fold 2 has the article Kenya with question 6.
    assert found == [{f"question {n} {code}" for n in some for code in ("de", "en")} for some in ("124", "3", "5", "7")]


def test_the_task_xquad_r_has_paragraphs_to_add_and_no_split(tiny):
    expected = read_xquad_r(paragraphs=True).passages[["passage_id", "language", "text"]]
    pd.testing.assert_frame_equal(load_task("xquad-r", paragraphs=True).passages, expected)
    part = load_task("xquad-r", fold=2, paragraphs=True)
    assert part.passages.text.tolist() == ["sentence K0 de sentence K0 de", "sentence K0 en sentence K0 en"]
    with pytest.raises(ValueError, match=r"^split is 'test'; xquad-r has none: allowed is None$"):
        load_task("xquad-r", "test")
    with pytest.raises(ValueError, match=r"^fold is 4; allowed: 0 to 3$"):
        load_task("xquad-r", fold=4)


def test_rows_of_xquad_r_are_a_question_and_its_answer_in_the_language_of_the_row(xquad_r):
    corpus = load_corpus("xquad-r", fold=2)
    assert corpus.languages == tuple(sorted(set(xquad_r.queries.language)))
    queries = xquad_r.queries[~xquad_r.queries.article.isin(articles_of(2, held_out=True))]
    assert corpus.sizes().to_dict() == queries.language.value_counts().to_dict()
    passages = xquad_r.passages.set_index("passage_id")
    answers = xquad_r.qrels.assign(language=xquad_r.qrels.passage_id.map(passages.language))
    answers = answers[answers.language == answers.query_id.str.partition(":")[0]].set_index("query_id").passage_id
    topics = read_folds().domain
    expected = {
        (language, text, passages.text[answers[query_id]], topics[article])
        for query_id, language, text, _, article in queries.itertuples(index=False)
    }
    table = corpus.table.to_pandas()
    assert set(table[["language", "query", "passage", "domain"]].itertuples(index=False, name=None)) == expected


@pytest.mark.parametrize(("xquad_r", "fold"), [("made", 1), ("made", 2), ("real", 3)], indirect=["xquad_r"])
def test_no_text_of_a_held_out_article_of_xquad_r_is_trained_on(xquad_r, fold):
    train, held_out = load_corpus("xquad-r", fold=fold).table.to_pandas(), load_task("xquad-r", fold=fold)
    assert not set(train["query"]) & set(held_out.queries.text)
    assert not set(train["passage"]) & set(held_out.passages.text)
    articles = articles_of(fold, held_out=True)
    assert set(held_out.queries.article) == set(articles) & set(xquad_r.queries.article)
    candidates = xquad_r.passages[xquad_r.passages.article.isin(articles)]
    assert held_out.passages.passage_id.tolist() == candidates.passage_id.tolist()
    # Without a fold, the task is the benchmark as published. Every question is trained on or asked.
    whole = load_task("xquad-r")
    assert len(train) + len(held_out.queries) == len(whole.queries)
    for name, columns in {"queries": 5, "passages": 3, "qrels": 3}.items():
        pd.testing.assert_frame_equal(getattr(whole, name), getattr(xquad_r, name).iloc[:, :columns])


def test_every_article_of_xquad_r_is_held_out_once_and_has_one_topic():
    folds = read_folds()
    assert len(folds) == 48 and folds.index.is_unique
    assert sorted(title for fold in FOLDS for title in articles_of(fold, held_out=True)) == sorted(folds.index)
    for fold in FOLDS:
        parts = articles_of(fold, held_out=True) + articles_of(fold, held_out=False)
        assert sorted(parts) == sorted(folds.index)
    # As evenly as they go: 11 history, 10 places, 14 science and 13 society, and 1,190 questions, by four.
    by_topic = folds.groupby(["domain", "fold"]).size()
    assert by_topic.groupby("domain").sum().to_dict() == {"history": 11, "places": 10, "science": 14, "society": 13}
    assert (by_topic.groupby("domain").max() - by_topic.groupby("domain").min() <= 1).all()
    questions = folds.groupby("fold").questions.sum()
    assert questions.sum() == 1190 and questions.between(285, 316).all()


def test_the_folds_of_xquad_r_have_the_titles_and_the_numbers_of_questions_of_its_files(real_data):
    queries = read_xquad_r().queries
    for _, rows in queries.groupby("language"):
        assert rows.article.value_counts().to_dict() == read_folds().questions.to_dict()
