"""Tasks of ir_datasets, made of files here, without the network."""

from typing import NamedTuple

import datasets
import ir_datasets
import pytest
from made_tasks import assert_values_are_those_of_trec_eval, write
from test_trec import judged, plain_made, tabs

import hybridlib as hl


@pytest.fixture
def files(tmp_path):
    """Write the files of a drawn task, and return it with the arguments for ir_datasets."""
    made = plain_made()
    return made, {
        "docs_tsv": str(write(tmp_path / "docs.tsv", tabs(made.passages))),
        "queries_tsv": str(write(tmp_path / "queries.tsv", tabs(made.queries))),
        "qrels_trec": str(write(tmp_path / "qrels", judged(made).replace("\t", " ").replace("  ", " "))),
    }


def registered(name, dataset):
    if name not in ir_datasets.registry:
        ir_datasets.registry.register(name, dataset)
    return name


def test_values_are_those_of_trec_eval(files):
    made, paths = files
    task = hl.from_ir_datasets(ir_datasets.create_dataset(**paths), language="en")
    assert isinstance(task.passages, datasets.Dataset) and task.passages.cache_files
    assert_values_are_those_of_trec_eval(task, made)


def test_files_that_are_replaced_are_read_anew(files, cache):
    made, paths = files
    dataset = ir_datasets.create_dataset(**paths)
    hl.from_ir_datasets(dataset, language="en")
    assert len(list(cache.glob("*.arrow"))) == 1
    hl.from_ir_datasets(dataset, language="en")
    assert len(list(cache.glob("*.arrow"))) == 1
    changed = [(key, "", f"new {text}") for key, _, text in made.passages]
    write(cache.parent.parent / "docs.tsv", tabs(changed))
    assert hl.from_ir_datasets(ir_datasets.create_dataset(**paths), language="en").passages["text"][0].startswith("new")


class Doc(NamedTuple):
    doc_id: str
    title: str
    text: str | None

    def default_text(self):
        return f"{self.title} {self.text}" if self.text is not None else None


class Query(NamedTuple):
    query_id: str
    text: str

    def default_text(self):
        return self.text


class Qrel(NamedTuple):
    query_id: str
    doc_id: str
    relevance: int


class Handler:
    """What ir_datasets asks of the part of a dataset."""

    def __init__(self, kind, records, language):
        def handler():
            return self

        vars(self).update(
            {f"{kind}_handler": handler, f"{kind}_iter": lambda: iter(records), f"{kind}_lang": lambda: language}
        )


QUERIES, QRELS = (Query("q", "rain?"),), (Qrel("q", "a", 1),)


def dataset_of(docs, queries=QUERIES, qrels=QRELS, languages=("sw", "en")):
    kinds = ("docs", "queries", "qrels")
    parts = zip(kinds, (docs, queries, qrels), (*languages, None), strict=True)
    return ir_datasets.Dataset(*(Handler(kind, rows, language) for kind, rows, language in parts if rows is not None))


def test_texts_and_languages_are_those_of_ir_datasets_unless_given():
    dataset = dataset_of([Doc("a", "Mvua", "Mvua inanyesha. "), Doc("b", "", "")])
    task = hl.from_ir_datasets(dataset)
    assert task.passages.to_pandas().to_numpy().tolist() == [["a", "sw", "Mvua Mvua inanyesha."], ["b", "sw", ""]]
    assert task.queries.language.tolist() == ["en"]
    for options, languages in (
        ({"language": "yo"}, ["yo", "yo"]),
        ({"query_language": "yo"}, ["sw", "yo"]),
        ({"language": "ha", "query_language": "yo"}, ["ha", "yo"]),
    ):
        task = hl.from_ir_datasets(dataset, **options)
        assert [*task.languages, *task.queries.language] == languages


def test_documents_of_a_dataset_given_by_name_are_converted_once(cache):
    read = []

    class Documents(list):
        def __iter__(self):
            read.append(1)
            return super().__iter__()

    name = registered("hybridlib-made/test", dataset_of(Documents([Doc("a", "x", "y")])))
    ir_datasets.load(name).docs_metadata = lambda: {"count": 1}  # as of those whose files ir_datasets pins
    for _ in range(2):
        assert hl.from_ir_datasets(name).passages["text"][:] == ["x y"]
    assert len(list(cache.glob("*.arrow"))) == 1 and len(read) == 1


def test_documents_of_a_dataset_that_a_user_registered_are_read_anew_as_its_files_may_change():
    documents = [Doc("a", "x", "y")]
    name = registered("hybridlib-own/test", dataset_of(documents))
    assert hl.from_ir_datasets(name).passages["text"][:] == ["x y"]
    documents[0] = Doc("a", "x", "z")
    assert hl.from_ir_datasets(name).passages["text"][:] == ["x z"]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"docs": []}, "there are no documents of the dataset"),
        (
            {"docs": [Doc("a", "x", None)]},
            r"documents of the dataset, line 1: \['a', None\]; allowed: an id and a text",
        ),
        ({"docs": [Doc("a", "x", "\ud800")]}, "documents of the dataset, line 1: "),
        ({"docs": [Doc(5, "x", "y")]}, "documents of the dataset, line 1: "),
        (
            {"docs": [Doc("a", "x", "y"), Doc("a", "x", "z")]},
            "documents of the dataset, line 2: passage 'a' comes twice",
        ),
        ({"queries": [Query("q", "x")] * 2}, "queries of the dataset, line 2: query 'q' comes twice"),
        ({"queries": [Query("q", " ")]}, "queries of the dataset, line 1: the text of query 'q' is empty"),
        ({"qrels": [Qrel("q", "z", 1)]}, "qrels of the dataset, line 1: passage 'z' does not exist; missing='drop'"),
        ({"qrels": [Qrel("q", "a", 1), Qrel("q", "a", 2)]}, "qrels of the dataset, line 2: query 'q' and passage 'a'"),
        ({"qrels": None}, "dataset is the dataset, which has no qrels; allowed: one with docs, queries and qrels"),
        ({"queries": None, "docs": None}, "dataset is the dataset, which has no docs and no queries; allowed"),
        ({"languages": (None, "en")}, "language is None, and ir_datasets has no docs_lang for the dataset"),
        ({"languages": ("en", None)}, "language or query_language is None, and ir_datasets has no queries_lang for"),
    ],
)
def test_what_is_wrong_with_a_dataset_is_named(made, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        hl.from_ir_datasets(dataset_of(**{"docs": [Doc("a", "x", "y")], **made}))


@pytest.mark.parametrize("dataset", ["nowhere/at/all", 5, None])
def test_what_is_no_dataset_is_refused(dataset):
    with pytest.raises(ValueError, match=f"^dataset is {dataset!r}; allowed: the name of a dataset of ir_datasets, "):
        hl.from_ir_datasets(dataset)


def test_a_published_dataset_without_judgements_is_refused():
    with pytest.raises(ValueError, match=r"^dataset is miracl/sw, which has no queries and no qrels; allowed: one"):
        hl.from_ir_datasets("miracl/sw")


def test_it_is_said_where_ir_datasets_is_not_installed(monkeypatch):
    monkeypatch.setattr("hybridlib.data.formats.ir_datasets.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs the package ir_datasets: pip install ir_datasets"):
        hl.from_ir_datasets("miracl/sw/dev")
