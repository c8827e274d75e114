"""mMARCO: files of upstream's layout, and what a corpus makes of them."""

import io
import tarfile

import numpy as np
import pandas as pd
import pytest

from hybridlib.data.corpus import connected_groups
from hybridlib.data.load import load_corpus
from hybridlib.data.sources import mmarco

QUERIES, PASSAGES = list(range(100, 700)), list(range(0, 3000, 2))
# Query 100 + n is answered by passage 2n; query 101 by that of query 100 too; and query 105 has two passages.
JUDGED = [(query, 2 * n) for n, query in enumerate(QUERIES)] + [(101, 0), (105, 2000)]


def texts_of(code: str, kind: str, ids: list[int]) -> str:
    """A line for each id, in descending order: files need not be sorted."""
    return "".join(f"{key}\t{kind} {key} auf {code}, 中é\n" for key in reversed(ids))


def packed(member: str, content: str) -> bytes:
    """An archive of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(content.encode())
        archive.addfile(info, io.BytesIO(content.encode()))
    return buffer.getvalue()


@pytest.fixture
def made() -> dict[str, bytes]:
    """What the files hold, by path: English, German and Dutch."""
    contents = {"qrels.train.tsv": "".join(f"{q}\t0\t{p}\t1\n" for q, p in JUDGED).encode()}
    contents["queries.tar.gz"] = packed("queries.train.tsv", texts_of("en", "query", QUERIES))
    contents["collectionandqueries.tar.gz"] = packed("collection.tsv", texts_of("en", "passage", PASSAGES))
    for code, name in (("de", "german"), ("nl", "dutch")):
        folder = "data/google"
        contents[f"{folder}/queries/train/{name}_queries.train.tsv"] = texts_of(code, "query", QUERIES).encode()
        contents[f"{folder}/collections/{name}_collection.tsv"] = texts_of(code, "passage", PASSAGES).encode()
    return contents


@pytest.fixture
def pin(publish):
    """Publish the files of mMARCO."""
    return lambda contents: publish(mmarco.SOURCE, contents)


def test_an_item_is_a_judgement_with_its_texts_in_each_language(made, pin):
    pin(made)
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


def test_items_are_in_the_order_of_the_judgements_and_those_with_a_query_or_passage_in_common_are_a_group(made, pin):
    pin(made)
    table = load_corpus("mmarco", languages=["de"]).table.to_pandas()
    pairs = [(int(q.split()[1]), int(p.split()[1])) for q, p in zip(table["query"], table.passage, strict=True)]
    assert pairs == [pair for pair in JUDGED if pair in pairs]
    group = dict(zip(pairs, table.passage_group, strict=True))
    assert group[100, 0] == group[101, 2] == group[101, 0] and group[105, 10] == group[105, 2000]
    assert len(set(group.values())) == len(pairs) - 3  # two of the others share with 100, and one with 105


def test_validation_is_a_hundredth_of_the_groups_and_shares_nothing_with_train(made, pin):
    pin(made)
    train, validation = (load_corpus("mmarco", split, languages=["en"]).table for split in ("train", "validation"))
    assert not set(train["query"]) & set(validation["query"])
    assert not set(train["passage"]) & set(validation["passage"])
    # 599 groups, each held out with probability 1/100: 6, with a deviation of 2.4.
    assert 1 <= len(validation) <= 16
    # What is held out does not depend on the other judgements.
    items = pd.DataFrame(JUDGED[:300], columns=["query", "passage"]).assign(line=0)
    half = mmarco._of_split(items, "validation")["query"]
    held = {int(text.split()[1]) for text in validation["query"]}
    assert set(half) == {query for query in held if query < 400} != set()


def test_groups_are_split_at_the_rate_that_is_stated():
    queries = np.arange(40_000) * 7
    items = pd.DataFrame({"query": queries, "passage": queries, "line": 0})
    # Four deviations of 40,000 draws at 1/100: 4 * sqrt(396) = 80.
    assert abs(len(mmarco._of_split(items, "validation")) - 400) < 80
    assert connected_groups(items["query"], items.passage).nunique() == 40_000


GERMAN = "data/google/collections/german_collection.tsv"
QRELS = "qrels.train.tsv"


@pytest.mark.parametrize(
    ("path", "old", "new", "message"),
    [
        (
            QRELS,
            b"103\t0\t6\t1",
            b"103 0 6 1",
            r"qrels\.train\.tsv, line 4: expected query, 0, passage and relevance, .* not b'103 0 6 1.n'",
        ),
        (QRELS, b"103\t0\t6\t1", b"103\t0\t6", r"qrels\.train\.tsv, line 4: expected query, 0"),
        (QRELS, b"103\t0\t6\t1", b"102\t0\t4\t1", r"qrels\.train\.tsv, line 4: query 102 and passage 4 come twice"),
        (QRELS, b"103\t0\t6\t1", b"103\t0\t7\t1", r"qrels\.train\.tsv, line 4: passage 7 is not in .*collection\.tsv"),
        (
            QRELS,
            b"103\t0\t6\t1",
            b"99\t0\t6\t1",
            r"qrels\.train\.tsv, line 4: query 99 is not in .*german_queries\.train\.tsv",
        ),
        # Passages go down from 2998, on line 1; the judged one 6 is on line 1497.
        (
            GERMAN,
            b"\n6\tpassage",
            b"\n6 passage",
            r"german_collection\.tsv, line 1497: 1 columns; expected 2, id and text",
        ),
        (GERMAN, b"\n6\tpassage", b"\n6\tpas\tsage", r"german_collection\.tsv, line 1497: 3 columns"),
        (GERMAN, b"\n6\tpassage", b"\n6\tpass\xff", r"german_collection\.tsv, line 1497: not UTF-8"),
        (GERMAN, b"\n6\tpassage", b"\n6\t \n5\tpassage", r"german_collection\.tsv, line 1497: the text of 6 is empty"),
        (GERMAN, b"\n6\tpassage", b"\n8\tpassage", r"german_collection\.tsv, line 1497: id 8 comes twice"),
        (
            GERMAN,
            b"\n6\tpassage",
            b"\n5\tpassage",
            r"qrels\.train\.tsv, line 4: passage 6 is not in .*german_collection\.tsv",
        ),
    ],
)
def test_files_that_do_not_fit_are_refused_with_file_and_line(made, pin, path, old, new, message):
    assert made[path].count(old) == 1
    pin({**made, path: made[path].replace(old, new)})
    with pytest.raises(ValueError, match=message):
        load_corpus("mmarco", languages=["de"])


def test_a_truncated_or_foreign_archive_is_refused(made, pin):
    path = "collectionandqueries.tar.gz"
    pin({**made, path: made[path][:-3000]})
    with pytest.raises(ValueError, match=r"collectionandqueries\.tar\.gz is truncated or lacks collection\.tsv"):
        load_corpus("mmarco", languages=["en"])
    pin({**made, path: packed("other.tsv", "")})
    with pytest.raises(ValueError, match=r"is truncated or lacks collection\.tsv: .*collection\.tsv"):
        load_corpus("mmarco", languages=["en"])


def test_judgements_of_no_relevance_are_no_items(made, pin):
    pin(made)
    assert "query 103 auf de, 中é" in load_corpus("mmarco", languages=["de"]).table["query"]
    pin({**made, QRELS: made[QRELS].replace(b"103\t0\t6\t1", b"103\t0\t6\t0")})
    assert "query 103 auf de, 中é" not in load_corpus("mmarco", languages=["de"]).table["query"]
    pin({**made, QRELS: b""})
    with pytest.raises(ValueError, match=r"qrels\.train\.tsv holds no judgement"):
        load_corpus("mmarco", languages=["de"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "test"}, "split is 'test'; allowed: train, validation$"),
        (
            {"languages": ["sw"]},
            "languages: 'sw' is not in mmarco; allowed: ar, de, en, es, fr, hi, id, it, ja, nl, pt",
        ),
    ],
)
def test_arguments_that_name_nothing_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_corpus("mmarco", **arguments)


def test_files_are_pinned_for_all_fourteen_languages():
    assert len(mmarco.SOURCE.languages) == 14
    files = mmarco.SOURCE.files
    assert len(files) == len({file.path for file in files}) == len({file.checksum for file in files}) == 1 + 2 * 14
