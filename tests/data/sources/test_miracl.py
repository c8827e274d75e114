"""MIRACL: the real topics and judgements, made passages against trec_eval, and every file that is at fault."""

import gzip
import json
import os
import tracemalloc
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import pytrec_eval
from made_miracl import made_corpus, pinned

from hybridlib.data import table
from hybridlib.data.load import load_task
from hybridlib.data.sources import miracl
from hybridlib.evaluation.evaluate import evaluate_embeddings

# Queries and judgements of the development set, as published: table 1 of arXiv 2210.09984v1 for 16 languages, and for
# all 18 with those of relevance 1 apart, and with the passages, in ir_datasets 0.6.3 (`etc/metadata.json`).
PUBLISHED = {
    "ar": (2896, 29197, 5658),
    "bn": (411, 4206, 863),
    "de": (305, 3144, 811),
    "en": (799, 8350, 2326),
    "es": (648, 6443, 2987),
    "fa": (632, 6571, 1314),
    "fi": (1271, 12008, 2447),
    "fr": (343, 3429, 731),
    "hi": (350, 3494, 752),
    "id": (960, 9668, 3088),
    "ja": (860, 8354, 1790),
    "ko": (213, 3057, 547),
    "ru": (1252, 13100, 3560),
    "sw": (482, 5092, 910),
    "te": (828, 1606, 854),
    "th": (733, 7573, 1343),
    "yo": (119, 1188, 144),
    "zh": (393, 3928, 994),
}
# Files of passages, as in ir_datasets 0.6.3 (`datasets/miracl.py`); upstream has 500,000 lines in a file.
FILES = {"ar": 5, "bn": 1, "de": 32, "en": 66, "es": 21, "fa": 5, "fi": 4, "fr": 30, "hi": 2}
FILES |= {"id": 3, "ja": 14, "ko": 3, "ru": 20, "sw": 1, "te": 2, "th": 2, "yo": 1, "zh": 10}


class Folder:
    """A data folder with two languages of two topics each, whose files are pinned as they are when they are read."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path, self.patch = path, patch
        for language in ("yo", "sw"):
            self.topics(language, "1#0\tnani?\n2#0\tlini?\n")
            self.qrels(language, "1#0\tQ0\t7#0\t1\n1#0\tQ0\t7#1\t0\n2#0\tQ0\t9#0\t1\n")
            self.corpus(language, [passage("7#0"), passage("7#1")], [passage("9#0"), passage("9#1")])

    def topics(self, language, text):
        self._write(f"topics.miracl-v1.0-{language}-dev.tsv", text)

    def qrels(self, language, text):
        self._write(f"qrels.miracl-v1.0-{language}-dev.tsv", text)

    def corpus(self, language, *files):
        for number, lines in enumerate(files):
            content = lines if isinstance(lines, bytes) else _gzipped(lines)
            self._write(f"miracl-corpus-v1.0-{language}/docs-{number}.jsonl.gz", content)

    def _write(self, name, content):
        path = self.path / "miracl" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def load(self, name="miracl", **arguments):
        self.patch.setitem(vars(miracl.SOURCE), "files", pinned(self.path))
        return load_task(name, **arguments)


def passage(docid, title="Simba", text="Simba ni mnyama."):
    return json.dumps({"docid": docid, "title": title, "text": text})


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Folder:
    monkeypatch.setenv("HYBRIDLIB_DATA", str(tmp_path / "data"))
    return Folder(tmp_path / "data", monkeypatch)


def arrows(tmp_path):
    return sorted((tmp_path / "cache").rglob("*"))


# --- What a task holds


def test_a_passage_is_its_title_and_text_and_knows_its_language(folder):
    folder.corpus("sw", [passage("7#0", "Simba", "Mnyama."), passage("7#1", "", "Paka."), passage("9#0", "Moto", "")])
    (folder.path / "miracl/miracl-corpus-v1.0-sw/docs-1.jsonl.gz").unlink()
    task = folder.load("miracl/sw")
    assert task.passages.to_pandas().to_numpy().tolist() == [
        ["sw:7#0", "sw", "Simba Mnyama."],
        ["sw:7#1", "sw", "Paka."],
        ["sw:9#0", "sw", "Moto"],
    ]
    assert task.queries[["query_id", "language", "text"]].to_numpy().tolist() == [
        ["sw:1#0", "sw", "nani?"],
        ["sw:2#0", "sw", "lini?"],
    ]


def test_judgements_of_relevance_0_are_kept(folder):
    task = folder.load("miracl/sw")
    assert task.qrels.to_numpy().tolist() == [
        ["sw:1#0", "sw:7#0", 1],
        ["sw:1#0", "sw:7#1", 0],
        ["sw:2#0", "sw:9#0", 1],
    ]


def test_passages_that_were_judged_not_relevant_are_in_the_pool_of_judged_ones(folder):
    task = folder.load("miracl/sw", pool="judged")
    assert task.passages.passage_id.tolist() == ["sw:7#0", "sw:7#1", "sw:9#0"]  # 7#1 has relevance 0; not 9#1


@pytest.mark.parametrize("languages", [None, ["sw", "yo"], ["yo", "sw"]])
def test_passages_come_in_the_order_of_languages_files_and_lines(folder, languages):
    task = folder.load(languages=languages)
    docids = ["7#0", "7#1", "9#0", "9#1"]
    assert list(task.passages["passage_id"]) == [f"{code}:{docid}" for code in ("sw", "yo") for docid in docids]
    assert task.queries.query_id.tolist() == ["sw:1#0", "sw:2#0", "yo:1#0", "yo:2#0"]


def test_there_is_no_cross_lingual_setting(folder):
    task = folder.load()
    assert task.settings == ("monolingual", "multilingual")
    results = evaluate_embeddings(np.eye(8)[:4], np.eye(8), task)
    assert set(results.setting) == {"monolingual", "multilingual"}


def test_files_come_in_the_order_of_their_numbers(folder):
    # By name, docs-10 would come before docs-2.
    folder.corpus("yo", [passage("7#0"), passage("7#1"), passage("9#0")], *([passage(f"{i}#5")] for i in range(1, 12)))
    task = folder.load("miracl/yo")
    assert list(task.passages["passage_id"])[3:] == [f"yo:{i}#5" for i in range(1, 12)]


# --- Conversion


def test_passages_are_mapped_from_disk_and_converted_once(folder, monkeypatch, tmp_path):
    first = folder.load("miracl/sw")
    assert len(first.passages.cache_files) == 2
    assert len([path for path in arrows(tmp_path) if path.suffix == ".arrow"]) == 2

    monkeypatch.setattr(miracl, "_convert", lambda *_: pytest.fail("converted again"))
    assert folder.load("miracl/sw").passages.to_dict() == first.passages.to_dict()


def test_a_file_with_another_content_is_converted_again(folder):
    folder.load("miracl/sw")
    folder.corpus("sw", [passage("7#0", "Chui"), passage("7#1")])
    assert folder.load("miracl/sw").passages["text"][0] == "Chui Simba ni mnyama."


def test_an_altered_file_is_refused_even_if_it_was_converted_before(folder):
    folder.load("miracl/sw")
    folder.corpus("sw", [passage("7#0", "Chui"), passage("7#1")])
    with pytest.raises(ValueError, match=r"docs-0\.jsonl\.gz differs from the published file"):
        load_task("miracl/sw")


def test_an_interrupted_conversion_goes_on_with_the_file_it_was_in(folder, tmp_path, monkeypatch):
    folder.corpus("sw", [passage("7#0"), passage("7#1")], [passage("9#0"), "{"])
    with pytest.raises(ValueError, match=r"docs-1\.jsonl\.gz, line 2"):
        folder.load("miracl/sw")
    (table,) = [path for path in arrows(tmp_path) if path.is_file() and path.suffix != ".lock"]  # no draft is left
    assert len(datasets.Dataset.from_file(str(table))) == 2  # that of docs-0
    convert, converted = miracl._convert, []
    monkeypatch.setattr(miracl, "_convert", lambda path, *rest: converted.append(path.name) or convert(path, *rest))
    folder.corpus("sw", [passage("7#0"), passage("7#1")], [passage("9#0")])
    assert len(folder.load("miracl/sw").passages) == 3
    assert converted == ["docs-1.jsonl.gz"]


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(miracl, "_BATCH", 200)
    peaks = []
    for passages in (2_000, 2_000, 8_000):  # the first warms up
        paths = made_corpus(tmp_path, "sw", [], len(peaks), passages)
        tracemalloc.start()
        table._write(tmp_path / "sw.arrow", miracl._convert(paths[0], "sw", miracl.tqdm(disable=True)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


def test_different_docids_with_one_hash_are_no_duplicates(folder, monkeypatch):
    monkeypatch.setattr(pd.util, "hash_array", lambda ids, categorize: np.zeros(len(ids), dtype=np.uint64))
    assert len(folder.load("miracl/sw").passages) == 4


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([""], r"docs-1\.jsonl\.gz, line 2: not JSON: Expecting value at character 1"),
        (["{'docid': 1}"], r"docs-1\.jsonl\.gz, line 2: not JSON"),
        (["[1]"], r"docs-1\.jsonl\.gz, line 2: 'docid' is missing or not of the type str"),
        (['{"docid": "8#0", "text": "a"}'], r"docs-1\.jsonl\.gz, line 2: 'title' is missing or not of the type str"),
        (['{"docid": 8, "title": "a", "text": "a"}'], r"docs-1\.jsonl\.gz, line 2: 'docid' is missing or not of"),
        ([passage("8 0")], r"docs-1\.jsonl\.gz, line 2: docid '8 0' is empty or holds white space"),
        ([passage("")], r"docs-1\.jsonl\.gz, line 2: docid '' is empty or holds white space"),
        ([passage("8#0", " ", "\n")], r"docs-1\.jsonl\.gz, line 2: passage '8#0' is empty"),
        ([passage("8#0", "\ud83d")], r"docs-1\.jsonl\.gz, line 2: passage '8#0' holds half a surrogate pair"),
        ([passage("8#0"), passage("9#0")], r"docs-1\.jsonl\.gz, line 3: docid '9#0' comes twice; .*docs-1.*, line 1$"),
        ([passage("7#1")], r"docs-1\.jsonl\.gz, line 2: docid '7#1' comes twice; .*docs-0\.jsonl\.gz, line 2$"),
    ],
)
def test_a_line_that_is_no_passage_is_refused_with_file_and_line(folder, lines, message):
    folder.corpus("sw", [passage("7#0"), passage("7#1")], [passage("9#0"), *lines])
    with pytest.raises(ValueError, match=message):
        folder.load("miracl/sw")


def _gzipped(rows, encoding="utf-8"):
    """The same bytes for the same rows, whatever the time."""
    return gzip.compress("".join(f"{row}\n" for row in rows).encode(encoding), mtime=0)


LINES = [passage("9#0"), *(passage(f"{i}#0", str(np.random.default_rng(i).random(20))) for i in range(10, 400))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_gzipped(LINES)[:-200], r"line 3\d\d: truncated or no gzip file: Compressed file ended before"),
        (_gzipped(LINES)[:-5], r"line 392: truncated or no gzip file: Compressed file ended before"),
        (_gzipped(LINES)[:-8] + bytes(8), r"line 392: truncated or no gzip file: CRC check failed"),
        (b"\n".join(line.encode() for line in LINES), r"line 1: truncated or no gzip file: Not a gzipped file"),
        (_gzipped([]), r" holds no passage"),
        (
            _gzipped(['{"docid": "9#0", "title": "", "text": "ä"}'], "latin-1"),
            r"line 1: not UTF-8: .* at byte 40",
        ),
        (_gzipped([passage("9#0")], "utf-8-sig"), "line 1: not JSON: Unexpected UTF-8 BOM"),
        (_gzipped([passage("9#0")], "utf-16"), "line 1: not UTF-8"),
    ],
)
def test_a_broken_file_is_refused_with_its_name_and_the_line(folder, content, message):
    folder.corpus("sw", [passage("7#0"), passage("7#1")], content)
    with pytest.raises(ValueError, match=rf"docs-1\.jsonl\.gz,? ?{message}"):
        folder.load("miracl/sw")


# --- Topics and judgements


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1#0\tnani?\n2#0 lini?\n", "line 2: 1 columns between tabs; expected 2"),
        ("1#0\tnani?\n2#0\tlini?\t\n", "line 2: 3 columns between tabs; expected 2"),
        ("1#0\tnani?\n1#0\tlini?\n", "line 2: topic '1#0' comes twice"),
        ("1#0\tnani?\n\tlini?\n", "line 2: the id of the topic is empty"),
        ("1#0\tnani?\n2#0\t \n", "line 2: the text of the topic is empty"),
        ("1#0\tnani?\n\n2#0\tlini?\n", "line 2: 1 columns between tabs"),
        ("", "line 1: 1 columns between tabs"),
        ("1#0\tnani?\n2#0\tlinä?\n".encode("latin-1"), "line 2: not UTF-8"),
    ],
)
def test_topics_at_fault_are_named_with_file_and_line(folder, content, message):
    folder.topics("sw", content)
    with pytest.raises(ValueError, match=rf"topics\.miracl-v1\.0-sw-dev\.tsv, {message}"):
        folder.load("miracl/sw")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2#0\tQ0\t9#0", "3 columns between tabs; expected 4"),
        ("3#0\tQ0\t9#0\t1", "topic '3#0' does not exist"),
        ("2#0\tQ0\t9#7\t1", "passage '9#7' does not exist"),
        ("2#0\tQ0\t9#7\t0", "passage '9#7' does not exist"),
        ("2#0\tQ0\t9#0\t2", "relevance is '2'; allowed: 0, 1"),
        ("2#0\tQ0\t9#0\t", "relevance is ''; allowed: 0, 1"),
        ("1#0\tQ0\t7#0\t0", "topic '1#0' and passage '7#0' are judged twice"),
    ],
)
def test_judgements_at_fault_are_named_with_file_and_line(folder, line, message):
    folder.qrels("sw", f"1#0\tQ0\t7#0\t1\n{line}\n")
    with pytest.raises(ValueError, match=rf"qrels\.miracl-v1\.0-sw-dev\.tsv, line 2: {message}"):
        folder.load("miracl/sw")


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        (["sw", "tr"], "languages: 'tr' is not in miracl; allowed: sw, yo"),
        (["sw", "sw"], r"languages \['sw', 'sw'\] names one twice"),
        ([], "languages names none; allowed in miracl: sw, yo"),
    ],
)
def test_languages_that_cannot_be_are_refused(folder, languages, message):
    with pytest.raises(ValueError, match=message):
        folder.load(languages=languages)


def test_all_files_are_there_before_the_first_is_converted(folder, monkeypatch, tmp_path):
    monkeypatch.setitem(vars(miracl.SOURCE), "files", pinned(folder.path))
    (folder.path / "miracl/miracl-corpus-v1.0-yo/docs-1.jsonl.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"miracl-corpus-v1\.0-yo/docs-1\.jsonl\.gz of miracl does not exist"):
        load_task("miracl")
    assert not arrows(tmp_path)


# --- The published files


def test_the_files_of_all_languages_are_pinned():
    files = miracl.SOURCE.files
    names = [file.path for file in files]
    for language, number in FILES.items():
        folder = f"miracl/miracl-corpus-v1.0-{language}/"
        assert [name for name in names if name.startswith(folder)] == [
            f"{folder}docs-{i}.jsonl.gz" for i in range(number)
        ]
    assert len(names) == len(set(names)) == sum(FILES.values()) + 2 * 18
    for file in files:
        kind, _, digest = file.checksum.partition(":")
        assert len(digest) == {"md5": 32, "sha256": 64}[kind] and int(digest, 16)
        commit = miracl._CORPUS_COMMIT if "corpus" in file.path else miracl._TOPICS_COMMIT
        assert commit in file.url and file.url.endswith(file.path.removeprefix("miracl/"))
    assert [file.path for file in files if not file.size] == ["miracl/miracl-corpus-v1.0-yo/docs-0.jsonl.gz"]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The real topics and judgements, with made corpora that hold the judged passages and 1,000 others a language."""
    if not os.environ.get("HYBRIDLIB_DATA"):
        pytest.skip("HYBRIDLIB_DATA is not set: tests on real data are left out")
    there, folder = Path(os.environ["HYBRIDLIB_DATA"]) / "miracl", tmp_path_factory.mktemp("miracl")
    for language in PUBLISHED:
        qrels = there / f"qrels.miracl-v1.0-{language}-dev.tsv"
        docids = dict.fromkeys(line.split("\t")[2] for line in qrels.read_text(encoding="utf-8").splitlines())
        made_corpus(folder, language, [*docids], seed=1, distractors=1_000, per_file=10_000)
        for kind in ("topics", "qrels"):
            name = f"{kind}.miracl-v1.0-{language}-dev.tsv"
            (folder / "miracl" / name).symlink_to(there / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYBRIDLIB_DATA", str(folder))
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        published = {file.path: file.checksum for file in miracl.SOURCE.files if file.path.endswith(".tsv")}
        patch.setitem(vars(miracl.SOURCE), "files", pinned(folder))
        assert published == {file.path: file.checksum for file in miracl.SOURCE.files if file.path in published}
        yield


def test_real_topics_and_judgements_have_the_published_counts(real):
    task = load_task("miracl")
    queries, qrels = task.queries.language.value_counts(), task.qrels.query_id.str[:2].value_counts()
    relevant = task.qrels[task.qrels.relevance > 0].query_id.str[:2].value_counts()
    assert {code: (queries[code], qrels[code], relevant[code]) for code in queries.index} == PUBLISHED
    # Every query has a relevant passage, and all of them are in its language.
    assert task.qrels.groupby("query_id").relevance.max().eq(1).all() and len(task.queries) == 13_495
    assert (task.qrels.query_id.str[:2] == task.qrels.passage_id.str[:2]).all()


def test_a_language_gives_what_trec_eval_gives(real):
    task = load_task("miracl/yo")
    rng = np.random.default_rng(2)
    passages = rng.standard_normal((len(task.passages), 16))
    # Near a relevant passage, so that some are found.
    near = pd.DataFrame(task.pairs).groupby(0)[1].first()  # by row of the query
    queries = passages[near] + 1.5 * rng.standard_normal((119, 16))
    results = evaluate_embeddings(queries, passages, task, similarity="dot", measures=("ndcg@10", "recall@100"))
    scores = queries @ passages.T  # (Q, P)
    names = list(task.passages["passage_id"])
    run = {
        name: dict(zip(names, row.tolist(), strict=True))
        for name, row in zip(task.queries.query_id, scores, strict=True)
    }
    judged = {
        name: dict(zip(rows.passage_id, rows.relevance, strict=True)) for name, rows in task.qrels.groupby("query_id")
    }
    expected = pytrec_eval.RelevanceEvaluator(judged, {"ndcg_cut.10", "recall.100"}).evaluate(run)
    for measure, name in (("ndcg@10", "ndcg_cut_10"), ("recall@100", "recall_100")):
        for setting in ("monolingual", "multilingual"):  # of one language, both pools are the same
            rows = results[(results.measure == measure) & (results.setting == setting)]
            assert len(rows) == 119
            ours = dict(zip(rows.query_id, rows.value, strict=True))
            assert all(abs(ours[query] - expected[query][name]) < 1e-6 for query in expected)
        assert 0.1 < np.mean([values[name] for values in expected.values()]) < 0.9
