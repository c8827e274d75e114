"""MIRACL: made files in two languages, and the real topics and judgements with made passages, against trec_eval."""

import datasets
import numpy as np
import pandas as pd
import pytest
import pytrec_eval
from made_sources import gz, miracl, passage

from hybridlib.data.load import load_task
from hybridlib.data.sources import miracl as module
from hybridlib.evaluation.evaluate import evaluate_embeddings

# The published numbers of queries, of judgements, and of judgements of relevance 1 in the development set. Table 1 of
# arXiv 2210.09984v1 has the first two for 16 languages, and ir_datasets 0.6.3 (`etc/metadata.json`) all for all 18.
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
# The numbers of files of passages are those in ir_datasets 0.6.3 (`datasets/miracl.py`).
FILES = {"ar": 5, "bn": 1, "de": 32, "en": 66, "es": 21, "fa": 5, "fi": 4, "fr": 30, "hi": 2}
FILES |= {"id": 3, "ja": 14, "ko": 3, "ru": 20, "sw": 1, "te": 2, "th": 2, "yo": 1, "zh": 10}
KINDS = ("topics", "qrels")
DOCS = [f"miracl-corpus-v1.0-th/docs-{n}.jsonl.gz" for n in (0, 1)]


# --- what a task holds


def test_a_passage_is_its_title_and_text_and_knows_its_language(made):
    lines = [passage("7#0", "Simba", "Mnyama."), passage("7#1", "", "Paka.")]
    made("miracl", {DOCS[0]: gz(*lines), DOCS[1]: gz(passage("9#0", "Moto", ""))})
    task = load_task("miracl/th")
    assert task.passages.to_pandas().to_numpy().tolist() == [
        ["th:7#0", "th", "Simba Mnyama."],
        ["th:7#1", "th", "Paka."],
        ["th:9#0", "th", "Moto"],
    ]
    assert task.queries[["query_id", "language", "text"]].to_numpy().tolist() == [
        ["th:1#0", "th", "nani?"],
        ["th:2#0", "th", "lini?"],
    ]
    # Judgements of relevance 0 are kept.
    assert task.qrels.to_numpy().tolist() == [
        ["th:1#0", "th:7#0", 1],
        ["th:1#0", "th:7#1", 0],
        ["th:2#0", "th:9#0", 1],
    ]


def test_passages_that_were_judged_not_relevant_are_in_the_pool_of_judged_ones(made):
    made("miracl")
    task = load_task("miracl/th", pool="judged")
    assert task.passages.passage_id.tolist() == ["th:7#0", "th:7#1", "th:9#0"]  # 7#1 has relevance 0; not 9#1


@pytest.mark.parametrize("languages", [None, ["te", "th"], ["th", "te"]])
def test_passages_come_in_the_order_of_languages_files_and_lines(made, languages):
    made("miracl")
    task = load_task("miracl", languages=languages)
    docids = ["7#0", "7#1", "9#0", "9#1"]
    assert list(task.passages["passage_id"]) == [f"{code}:{docid}" for code in ("te", "th") for docid in docids]
    assert task.queries.query_id.tolist() == ["te:1#0", "te:2#0", "th:1#0", "th:2#0"]


def test_there_is_no_cross_lingual_setting(made):
    made("miracl")
    task = load_task("miracl")
    assert task.settings == ("monolingual", "multilingual")
    results = evaluate_embeddings(np.eye(8)[:4], np.eye(8), task)
    assert set(results.setting) == {"monolingual", "multilingual"}


# --- conversion


def test_passages_are_mapped_from_disk_and_converted_once(made, cache, monkeypatch):
    made("miracl")
    first = load_task("miracl/th")
    assert len(first.passages.cache_files) == len(list(cache.glob("*.arrow"))) == 2
    monkeypatch.setattr(module, "_passage", lambda *_: pytest.fail("converted again"))
    assert load_task("miracl/th").passages.to_dict() == first.passages.to_dict()


def test_a_file_with_another_content_is_converted_again_and_an_altered_one_refused(made):
    folder = made("miracl")
    load_task("miracl/th")
    lines = [passage("7#0", "Chui"), passage("7#1")]
    made("miracl", {DOCS[0]: gz(*lines)})
    assert load_task("miracl/th").passages["text"][0] == "Chui Simba ni mnyama."
    (folder / DOCS[0]).write_bytes(gz(*reversed(lines)))
    with pytest.raises(ValueError, match=r"docs-0\.jsonl\.gz differs from the published file"):
        load_task("miracl/th")


def test_an_interrupted_conversion_goes_on_with_the_file_it_was_in(made, cache, monkeypatch):
    made("miracl", {DOCS[1]: gz(passage("9#0"), "{")})
    with pytest.raises(ValueError, match=r"docs-1\.jsonl\.gz, line 2"):
        load_task("miracl/th")
    (one,) = [path for path in cache.iterdir() if path.suffix != ".lock"]  # no draft is left
    assert len(datasets.Dataset.from_file(str(one))) == 2  # that of docs-0
    parse, parsed = module._passage, []
    monkeypatch.setattr(module, "_passage", lambda *line: parsed.append(parse(*line)) or parsed[-1])
    made("miracl", {DOCS[1]: gz(passage("9#0"))})
    assert len(load_task("miracl/th").passages) == 3
    assert [row.id for row in parsed] == ["th:9#0"]


def test_all_files_are_there_before_the_first_is_converted(made, cache):
    (made("miracl") / DOCS[1]).unlink()
    with pytest.raises(FileNotFoundError, match=r"miracl-corpus-v1\.0-th/docs-1\.jsonl\.gz of miracl does not exist"):
        load_task("miracl")
    assert not cache.exists()


# --- the published files


def test_the_files_of_passages_are_those_of_upstream_in_the_order_of_their_numbers():
    # In the order of their names, docs-10 would come before docs-2.
    for language, number in FILES.items():
        names = [file.path for file in module.SOURCE.files_of(language, "miracl-corpus")]
        assert names == [f"miracl/miracl-corpus-v1.0-{language}/docs-{n}.jsonl.gz" for n in range(number)]
    for file in module.SOURCE.files:
        assert (module._CORPUS_COMMIT if "corpus" in file.path else module._TOPICS_COMMIT) in file.url
    unknown = [file.path for file in module.SOURCE.files if not file.size]
    assert unknown == ["miracl/miracl-corpus-v1.0-yo/docs-0.jsonl.gz"]


@pytest.fixture
def real(real_data, publish):
    """Publish the real topics and judgements, with the judged passages and 1,000 others in each language, made."""
    contents = {}
    for language in PUBLISHED:
        topics, qrels = ((real_data / f"miracl/{kind}.miracl-v1.0-{language}-dev.tsv").read_bytes() for kind in KINDS)
        docids = {line.split("\t")[2] for line in qrels.decode().splitlines()}
        # These numbers are above that of every article of Wikipedia, so no docid is judged.
        docids |= {f"{10**12 + n}#0" for n in range(1000)}
        shuffled = np.random.default_rng(1).permutation(sorted(docids))
        contents |= miracl(language, gz(*map(passage, shuffled)), topics=topics, qrels=qrels)
    publish(module.SOURCE, contents, only=True)


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
    # Queries lie near a relevant passage, so that some are found.
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
        for setting in ("monolingual", "multilingual"):  # both pools of one language are the same
            rows = results[(results.measure == measure) & (results.setting == setting)]
            assert len(rows) == 119
            ours = dict(zip(rows.query_id, rows.value, strict=True))
            assert all(abs(ours[query] - expected[query][name]) < 1e-6 for query in expected)
        assert 0.1 < np.mean([values[name] for values in expected.values()]) < 0.9
