"""mMARCO: what a corpus makes of made files."""

import numpy as np
import pandas as pd
import pytest
from made_sources import JUDGED

from hybridlib.data.corpus import connected_groups
from hybridlib.data.load import load_corpus
from hybridlib.data.sources import mmarco


def test_an_item_is_a_judgement_with_its_texts_in_each_language(made):
    made("mmarco")
    parts = [load_corpus("mmarco", split, languages=["nl", "en", "de"]) for split in ("train", "validation")]
    assert parts[0].languages == ("nl", "en", "de")
    assert parts[0].table.cache_files
    table = pd.concat([part.table.to_pandas() for part in parts])
    found = set(zip(table.language, table["query"], table.passage, strict=True))
    assert len(found) == len(table) == 3 * len(JUDGED)
    assert found == {
        (code, f"query {q} auf {code}, 中é", f"passage {p} auf {code}, 中é")
        for q, p in JUDGED
        for code in ("nl", "en", "de")
    }
    assert set(table.domain) == {"web"} and set(table["dataset"]) == {"mmarco"}


def test_items_are_in_the_order_of_the_judgements_and_those_with_a_query_or_passage_in_common_are_a_group(made):
    made("mmarco")
    table = load_corpus("mmarco", languages=["de"]).table.to_pandas()
    pairs = [(int(q.split()[1]), int(p.split()[1])) for q, p in zip(table["query"], table.passage, strict=True)]
    assert pairs == [pair for pair in JUDGED if pair in pairs]
    group = dict(zip(pairs, table.passage_group, strict=True))
    assert group[100, 0] == group[101, 2] == group[101, 0] and group[105, 10] == group[105, 2000]
    assert len(set(group.values())) == len(pairs) - 3  # two of the others share with 100, and one with 105


def test_validation_is_a_hundredth_of_the_groups_and_shares_nothing_with_train(made):
    made("mmarco")
    train, validation = (load_corpus("mmarco", split, languages=["en"]).table for split in ("train", "validation"))
    assert not set(train["query"]) & set(validation["query"])
    assert not set(train["passage"]) & set(validation["passage"])
    # Each of 599 groups is held out with probability 1/100, which makes 6, with a deviation of 2.4.
    assert 1 <= len(validation) <= 16
    # The choice of a group does not depend on the other judgements.
    items = pd.DataFrame(JUDGED[:300], columns=["query", "passage"]).assign(line=0)
    half = mmarco._of_split(items, "validation")["query"]
    held = {int(text.split()[1]) for text in validation["query"]}
    assert set(half) == {query for query in held if query < 400} != set()


def test_groups_are_split_at_the_rate_that_is_stated():
    queries = np.arange(40_000) * 7
    items = pd.DataFrame({"query": queries, "passage": queries, "line": 0})
    # Four deviations of 40,000 draws at 1/100 are 4 * sqrt(396) = 80.
    assert abs(len(mmarco._of_split(items, "validation")) - 400) < 80
    assert connected_groups(items["query"], items.passage).nunique() == 40_000


def test_judgements_of_no_relevance_are_no_items_and_all_others_have_a_passage_in_every_language(made):
    made("mmarco")
    assert "query 103 auf de, 中é" in load_corpus("mmarco", languages=["de"]).table["query"]
    made("mmarco", {"qrels.train.tsv": (b"103\t0\t6\t1", b"103\t0\t6\t0")})
    assert "query 103 auf de, 中é" not in load_corpus("mmarco", languages=["de"]).table["query"]
    made("mmarco", {"data/google/collections/german_collection.tsv": (b"\n6\tpassage", b"\n5\tpassage")})
    with pytest.raises(ValueError, match=r"qrels\.train\.tsv, line 4: passage 6 is not in .*german_collection\.tsv"):
        load_corpus("mmarco", languages=["de"])
