"""Tasks of MTEB: the same values as MTEB's own evaluation, the codes of languages, and what is refused."""

import logging
import re
import sys

import mteb
import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta

import hybridlib as hl
from hybridlib.data.formats.mteb import _codes
from hybridlib.data.sources import collection

CORPUS = [{"id": "p1", "title": "Rain", "text": "It rains."}, {"id": "p2", "title": "", "text": " It snows. "}]
CORPUS += [{"id": "p3", "title": "Sun", "text": ""}, {"id": "q1", "title": None, "text": "When?"}]
QUERIES = [{"id": "q1", "text": "When?"}, {"id": "q2", "text": "Where?"}, {"id": "q3", "text": "Who?"}]
QRELS = {"q1": {"p1": 1, "p2": 0}, "q2": {"p2": 2, "p3": 1}}


def split_of(corpus=CORPUS, queries=QUERIES, qrels=QRELS, top_ranked=None):
    tables = {name: Dataset.from_list(rows) for name, rows in (("corpus", corpus), ("queries", queries))}
    return {**tables, "relevant_docs": qrels, "top_ranked": top_ranked}


def made(data, languages=("eng-Latn",), *, loaded=True, **fields):
    """A retrieval task whose data is a split by name, or by subset and name where languages are those of subsets."""
    several = isinstance(languages, dict)
    data = data if several else {"default": data}
    attributes = {key: fields.pop(key) for key in ("ignore_identical_ids", "skip_first_result") if key in fields}

    class Made(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="Made", description="A task for tests.", type="Retrieval", main_score="ndcg_at_10",
            dataset={"path": "none", "revision": "none"}, eval_langs=languages if several else list(languages),
            eval_splits=list(next(iter(data.values()))), **fields,
        )  # fmt: skip

        def load_data(self, num_proc=None, **options):
            self.dataset, self.data_loaded = data, True

    task = Made()
    for key, value in attributes.items():
        setattr(task, key, value)
    if loaded:
        task.load_data()
    return task


class Fixed:
    """An encoder of MTEB whose embeddings are drawn for each text; it keeps the texts that it saw."""

    mteb_model_meta = ModelMeta.create_empty({"name": "tests/fixed"})

    def __init__(self):
        self.seen = {}

    def one(self, text):
        return self.seen.setdefault(text, np.random.default_rng([*text.encode()]).normal(size=16))

    def encode(self, inputs, **options):
        return np.stack([self.one(text) for batch in inputs for text in batch["text"]])

    def similarity(self, one, other):
        return np.asarray(one) @ np.asarray(other).T

    def similarity_pairwise(self, one, other):
        return (np.asarray(one) * np.asarray(other)).sum(axis=1)


def both(task, **options):
    """The values of MTEB's own evaluation, and ours by query."""
    encoder = Fixed()
    ours = hl.from_mteb(task, **options)
    theirs = task.evaluate(encoder, task.eval_splits[0], encode_kwargs={})
    assert {*encoder.seen} == {*ours.queries.text, *ours.passages.text}
    queries, passages = ([encoder.one(text) for text in table.text] for table in (ours.queries, ours.passages))
    values = hl.evaluate_embeddings(
        np.array(queries), np.array(passages), ours, similarity="dot", measures=["map", "ndcg@10", "rr@10"], threads=1
    )
    return theirs, values


NAMES = {"map_at_1000": "map", "ndcg_at_10": "ndcg@10", "mrr_at_10": "rr@10"}


def random_split(seed, language=""):
    """Forty passages, ten queries, and judgements from 0 to 3."""
    draw = np.random.default_rng(seed)
    corpus = [{"id": f"p{n}", "title": "T" * (n % 3), "text": f"{language} passage {n}"} for n in range(40)]
    queries = [{"id": f"q{n}", "text": f"{language} query {n}"} for n in range(10)]
    qrels = {f"q{n}": {f"p{p}": int(draw.integers(4)) for p in draw.choice(40, 5, replace=False)} for n in range(10)}
    for n, found in enumerate(qrels.values()):
        found[f"p{n}"] = 1  # at least one is relevant
    return split_of(corpus, queries, qrels)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_values_are_those_of_mteb(seed):
    theirs, ours = both(made({"test": random_split(seed)}))
    mean = ours[ours.setting == "monolingual"].groupby("measure", observed=True).value.mean()
    for name, measure in NAMES.items():
        assert 0 < mean[measure] < 1
        # MTEB rounds to five digits, and trec_eval computes in float32.
        assert mean[measure] == pytest.approx(theirs["default"][name], abs=2e-5)


def test_passages_with_the_id_of_their_query_are_ignored_where_mteb_ignores_them():
    data = random_split(3)
    itself = [{"id": f"q{n}", "title": "", "text": f" query {n}"} for n in range(10)]
    data["corpus"] = Dataset.from_list([*data["corpus"], *itself])
    theirs, ours = both(made({"test": data}, ignore_identical_ids=True))
    # The text of the query is the nearest passage to it, so the reciprocal rank would be at most a half.
    assert theirs["default"]["map_at_1000"] == pytest.approx(
        ours[(ours.setting == "monolingual") & (ours.measure == "map")].value.mean(), abs=2e-5
    )
    for ignored in (True, False):
        assert bool(hl.from_mteb(made({"test": data}, ignore_identical_ids=ignored)).identical.size) == ignored


def test_every_subset_is_a_language_of_one_pool_and_its_monolingual_values_are_those_of_mteb():
    data = {code: {"test": random_split(4, code)} for code in ("deu", "eng")}
    task = made(data, {"deu": ["deu-Latn"], "eng": ["eng-Latn"]})
    theirs, ours = both(task, parallel=False)
    for subset, language in (("deu", "de"), ("eng", "en")):
        own = ours[(ours.setting == "monolingual") & (ours.query_language == language) & (ours.measure == "map")]
        assert own.value.mean() == pytest.approx(theirs[subset]["map_at_1000"], abs=2e-5)
    apart, parallel = (hl.from_mteb(task, parallel=parallel) for parallel in (False, True))
    assert apart.settings == ("monolingual", "multilingual") and len(apart.passages) == 80
    assert "cross-lingual" in parallel.settings and len(parallel.pairs) == 2 * len(apart.pairs)
    assert apart.queries.query_id.tolist()[::10] == ["deu:q0", "eng:q0"]
    with pytest.raises(ValueError, match=r"^parallel is None; allowed for several languages: True if an id names"):
        hl.from_mteb(task)
    one = hl.from_mteb(task, subsets="eng")
    assert one.languages == ["en"] and one.queries.query_id[0] == "q0"


def test_texts_are_those_that_mteb_gives_to_an_encoder():
    queries = [
        {"id": "q1", "text": "When?", "instruction": "Briefly."},
        {"id": "q2", "text": "Where?", "instruction": None},
    ]
    task = made({"test": split_of(queries=queries)})
    found = hl.from_mteb(task)
    assert found.queries.text.tolist() == ["When? Briefly.", "Where?"]
    assert found.passages.text.tolist() == ["Rain It rains.", "It snows.", "Sun", "When?"]
    assert found.qrels.to_numpy().tolist() == [["q1", "p1", 1], ["q1", "p2", 0], ["q2", "p2", 2], ["q2", "p3", 1]]
    assert found.roles == ("query", "document")


def test_the_data_of_a_task_is_loaded_when_it_is_not_yet():
    task = made({"test": split_of()}, loaded=False)
    assert len(hl.from_mteb(task).passages) == 4 and task.data_loaded


def test_a_task_that_holds_its_data_as_mteb_1_did_is_read():
    task = made({"test": split_of()}, loaded=False)

    def load_data(**options):
        task.queries = {"test": {"q1": "When?"}}
        task.corpus = {"test": {"p1": {"title": "Rain", "text": "It rains."}, "p2": "It snows."}}
        task.relevant_docs, task.data_loaded = {"test": {"q1": {"p1": 1}}}, True

    task.load_data = load_data
    assert hl.from_mteb(task).passages.text.tolist() == ["Rain It rains.", "It snows."]


def test_queries_and_passages_of_two_languages_are_cross_lingual():
    task = made({"deu-eng": {"test": split_of()}}, {"deu-eng": ["deu-Latn", "eng-Latn"]})
    for first, asked, held in (("queries", "de", "en"), ("passages", "en", "de")):
        found = hl.from_mteb(task, first=first)
        assert {*found.queries.language} == {asked} and found.languages == [held]
    with pytest.raises(
        ValueError, match=r"^first is None, and subset 'deu-eng' of Made is in de and en; allowed: queries"
    ):
        hl.from_mteb(task)
    same = made({"deu-deu": {"test": split_of()}}, {"deu-deu": ["deu-Latn", "deu-Latn"]})
    assert hl.from_mteb(same).languages == ["de"]


def test_a_split_is_named_where_there_are_several():
    task = made({"dev": split_of(), "test": split_of(queries=QUERIES[:1], qrels={"q1": {"p1": 1}})})
    assert [len(hl.from_mteb(task, split=split).queries) for split in ("dev", "test")] == [2, 1]
    with pytest.raises(ValueError, match=r"^split is None; allowed, as Made has several: dev, test$"):
        hl.from_mteb(task)
    with pytest.raises(ValueError, match=r"^split is 'train'; allowed in Made, each once: dev, test$"):
        hl.from_mteb(task, split="train")


def test_many_passages_are_mapped_and_joined_ones_stay_so(monkeypatch, cache):
    monkeypatch.setattr(collection, "_LARGE", 1)
    task = made({code: {"test": split_of()} for code in ("deu", "eng")}, {"deu": ["deu-Latn"], "eng": ["eng-Latn"]})
    found = hl.from_mteb(task, parallel=True)
    assert isinstance(found.passages, Dataset) and found.passages.cache_files
    # Two of passages, and two of the ids that the join gives them.
    assert len([*cache.glob("*.arrow")]) == 4
    assert found.passages["text"][:4] == ["Rain It rains.", "It snows.", "Sun", "When?"]


def test_subsets_with_passages_in_one_language_are_warned_of(caplog):
    languages = {"es": ["spa-Latn", "eng-Latn"], "fr": ["fra-Latn", "eng-Latn"]}
    task = made({code: {"test": split_of()} for code in languages}, languages)
    with caplog.at_level(logging.WARNING):
        found = hl.from_mteb(task, first="queries", parallel=False)
    assert "Made: subsets have passages in one language; the same passage of two subsets is two" in caplog.text
    assert found.languages == ["en"] and {*found.queries.language} == {"es", "fr"}
    assert found.settings == ("monolingual", "cross-lingual", "multilingual")


def test_judgements_of_absent_passages_are_refused_or_dropped():
    task = made({"test": split_of(qrels={"q1": {"p1": 1, "p9": 1}})})
    with pytest.raises(
        ValueError, match=r"^relevant_docs of Made, subset default, split test, line 2: passage 'p9' does"
    ):
        hl.from_mteb(task)
    assert "are left out: 1." in hl.from_mteb(task, missing="drop").pool


def test_languages_have_their_codes_of_cldr_and_a_script_where_there_are_several():
    spoken = (
        "eng-Latn deu-Latn arb-Arab arb-Latn zho-Hans zho-Hant kor-Hang jpn-Jpan swa-Latn nob-Latn tgl-Latn prs-Arab "
    )
    spoken += "yue-Hant python-Code"
    codes = "en de ar ar-Latn zh zh-Hant ko ja sw nb tl fa-AF yue python"
    assert [*_codes(spoken.split()).values()] == codes.split()


def test_every_language_of_retrieval_in_mteb_has_a_code_of_its_own_in_its_task():
    tasks = [task for task in mteb.get_tasks(task_types=["Retrieval"]) if isinstance(task, AbsTaskRetrieval)]
    assert len(tasks) > 300
    for task in tasks:
        spoken = {one for subset in task.metadata.hf_subsets_to_langscripts.values() for one in subset}
        codes = _codes(sorted(spoken))
        # Some tasks have a language under two codes of ISO 639-3: that of all varieties, and that of the standard.
        assert len({*codes.values()}) > 0.8 * len(spoken)
        assert all(re.fullmatch(r"[a-z+#]+([-_][A-Z]\w+)?", code) for code in codes.values()), task.metadata.name


WRONG = [
    (split_of(top_ranked={"q1": ["p1"]}), "passages are given for every query to rank; allowed: a task that ranks all"),
    (split_of(corpus=[{"id": "p1", "body": "x"}]), "corpus of {name} lacks the column 'text'; it has ['id']"),
    (
        split_of(queries=[{"id": "q1", "query": "x"}]),
        "queries of {name} lacks the column 'text'; it has ['id', 'query']",
    ),
    (split_of(corpus=[{"id": 1, "text": "x"}]), "corpus of {name}: id is of the type int64; allowed: texts"),
    (split_of(corpus=[{"id": "p", "text": ["x"]}]), "corpus of {name}: text is of the type list"),
    (split_of(corpus=[{"id": "p", "text": None}]), "corpus of {name}, line 1: text is None; allowed: a text"),
    (split_of(corpus=[{"id": " ", "text": "x"}]), "corpus of {name}, line 1: id is ' '; allowed: a text that is not e"),
    (split_of(corpus=[*CORPUS, CORPUS[0]]), "corpus of {name}, line 5: passage 'p1' comes twice; it is in corpus of"),
    (split_of(queries=[{"id": "q1", "text": ["a", "b"]}]), "queries of {name}, line 1: text is ['a', 'b']; allowed: a"),
    (split_of(queries=[{"id": "q1", "text": ""}]), "queries of {name}, line 1: the text of query 'q1' is empty"),
    (split_of(queries=[*QUERIES, QUERIES[0]]), "queries of {name}, line 4: query 'q1' comes twice; it is in line 1"),
    (
        split_of(qrels={"q1": {"p1": 0.5}}),
        "relevant_docs of {name}, line 1: relevance is '0.5'; allowed: a whole number",
    ),
    (split_of(qrels={}), "relevant_docs of {name} holds no judgement"),
    (
        split_of(qrels={"q1": {"p1": 0}}),
        "relevant_docs of {name}: no relevance of a query and a passage that are there",
    ),
]


@pytest.mark.parametrize(("data", "message"), WRONG)
def test_data_that_is_wrong_is_refused_with_its_place(data, message):
    name = "Made, subset default, split test"
    expected = message.format(name=name) if "{name}" in message else f"{name}: {message}"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}"):
        hl.from_mteb(made({"test": data}))


def test_a_corpus_without_rows_and_a_subset_without_data_are_refused():
    empty = split_of()
    empty["corpus"] = empty["corpus"].select([])
    with pytest.raises(
        ValueError, match=r"^corpus of Made, subset default, split test has no row; allowed: at least one$"
    ):
        hl.from_mteb(made({"test": empty}))
    task = made({"test": split_of()})
    task.dataset = {"default": {}}
    with pytest.raises(ValueError, match=r"^Made, subset default, split test: the data is not loaded; allowed: a task"):
        hl.from_mteb(task)


def test_what_is_no_retrieval_task_of_texts_is_refused(monkeypatch):
    sts = mteb.get_task("STS12")
    for task in (sts, "SciFact", None, pd.DataFrame()):
        with pytest.raises(
            ValueError, match=r"^task is .*; allowed: a retrieval task of MTEB, as made by mteb.get_task$"
        ):
            hl.from_mteb(task)
    pictures = made({"test": split_of()}, modalities=["text", "image"])
    with pytest.raises(ValueError, match=r"^task is Made, which is of text, image; allowed: a task of texts alone$"):
        hl.from_mteb(pictures)
    with pytest.raises(ValueError, match=r"^task is Made, which skips the first result; allowed: one that ranks all"):
        hl.from_mteb(made({"test": split_of()}, skip_first_result=True))

    three = made({"no": {"test": split_of()}}, {"no": ["nor-Latn", "nob-Latn", "nno-Latn"]})
    with pytest.raises(
        ValueError, match=r"^subset 'no' of Made is in no, nb, nn; allowed: a subset in one language or two$"
    ):
        hl.from_mteb(three)
    monkeypatch.setattr("hybridlib.data.formats.mteb.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"^from_mteb needs the package mteb: pip install mteb$"):
        hl.from_mteb(sts)


@pytest.mark.parametrize("subsets", [["fra"], [], ["eng", "eng"]])
def test_subsets_that_there_are_not_are_refused(subsets):
    task = made({"eng": {"test": split_of()}}, {"eng": ["eng-Latn"]})
    told = repr(subsets[0]) if subsets == ["fra"] else repr(subsets)
    with pytest.raises(ValueError, match=re.escape(f"subsets is {told}; allowed in Made, each once: eng")):
        hl.from_mteb(task, subsets=subsets)


def test_mteb_is_not_imported_before_it_is_needed():
    assert "mteb" not in getattr(sys.modules["hybridlib.data.formats.mteb"], "__dict__", {})
