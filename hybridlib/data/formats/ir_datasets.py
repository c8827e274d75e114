"""Tasks of ir_datasets (MacAvaney et al., 2021), read through its own objects.

Texts are those that ir_datasets takes for a document and a query by default (`default_text`), such as title and text.
Documents are streamed into a table that is mapped from disk (`hybridlib.data.sources.collection`). That of a dataset
which is given by its name is kept for the next time where ir_datasets knows how many documents it has, as it pins the
files of these. A dataset which is given as an object, or was registered by its user, may be of any files, so its
documents are read each time, to see whether they are the same.
"""

import hashlib
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Any

from pydantic import SkipValidation
from tqdm.auto import tqdm

from hybridlib.arguments import checked, told
from hybridlib.data.checks import texts_wrong
from hybridlib.data.formats.judgements import Missing, judged_task, qrels_of
from hybridlib.data.formats.lines import Code, queries_of
from hybridlib.data.sources.collection import BAR, Part, Row, collect
from hybridlib.data.sources.records import place
from hybridlib.data.task import RetrievalTask

_SITE = "https://ir-datasets.com"
_KINDS = ("docs", "queries", "qrels")


@checked
def from_ir_datasets(
    dataset: Annotated[Any, SkipValidation],
    *,
    language: Code | None = None,
    query_language: Code | None = None,
    missing: Missing = "refuse",
) -> RetrievalTask:
    """Read a retrieval task from ir_datasets; queries without a judgement are left out.

    Args:
        dataset: the name of one that has documents, queries and judgements, such as `miracl/sw/dev`, or an object of
            ir_datasets, as made by its `load` and `create_dataset`.
        language: the code of the language of documents and queries; that which ir_datasets has for each unless given.
        query_language: that of the queries, if it is another.
        missing: see `read_beir`.

    Returns:
        The task; its passages are memory-mapped.

    Raises:
        ImportError: ir_datasets is not installed.
        ValueError: there is no such dataset, it lacks documents, queries or judgements, or ir_datasets does not know
            their language and none is given; or a document or query is not as it must be, and the message says which.
        OSError: its files could not be downloaded.
    """
    dataset, name, pinned = _load(dataset)
    languages = {
        "docs_lang": language or dataset.docs_lang(),
        "queries_lang": query_language or language or dataset.queries_lang(),
    }
    for side, code in languages.items():
        if code is None:
            argument = "language" if side == "docs_lang" else "language or query_language"
            raise ValueError(f"{argument} is None, and ir_datasets has no {side} for {name}; allowed: its code")
    queries = queries_of(
        enumerate(_rows(dataset.queries_iter(), f"queries of {name}", "query_id", languages["queries_lang"]), start=1),
        f"queries of {name}",
    )
    qrels = qrels_of(enumerate(map(_judgement, dataset.qrels_iter()), start=1), f"qrels of {name}")
    where = f"documents of {name}"
    read = partial(_documents, dataset, where, languages["docs_lang"])
    made_from = ["ir_datasets", *(pinned or [_digest(read(None))]), languages["docs_lang"]]
    passages = collect([Part(where, made_from, read)], mapped=True)
    return judged_task(queries, passages, qrels, missing)


def _load(dataset: Any) -> tuple[Any, str, list[str]]:
    """Return a dataset, its name for messages, and what its documents are pinned by, if they are."""
    if not find_spec("ir_datasets"):
        raise ImportError("from_ir_datasets needs the package ir_datasets: pip install ir_datasets")
    import ir_datasets

    if isinstance(dataset, str):
        try:
            found = ir_datasets.load(dataset)
        except KeyError:
            raise ValueError(
                f"dataset is {told(dataset)}; allowed: the name of a dataset of ir_datasets, see {_SITE}"
            ) from None
        name = dataset
    elif isinstance(dataset, ir_datasets.Dataset):
        found, name = dataset, dataset.dataset_id() if hasattr(dataset, "dataset_id") else "the dataset"
    else:
        raise ValueError(
            f"dataset is {told(dataset)}; allowed: the name of a dataset of ir_datasets, or an object of it"
        )
    lacking = [kind for kind in _KINDS if not found.has(kind)]
    if lacking:
        raise ValueError(
            f"dataset is {name}, which has no {' and no '.join(lacking)}; allowed: one with docs, queries and qrels, "
            f"see {_SITE}"
        )
    pinned = isinstance(dataset, str) and _number(found) is not None
    return found, name, [ir_datasets.__version__, ir_datasets.docs_parent_id(name)] if pinned else []


def _number(dataset: Any) -> int | None:
    """Return how many documents a dataset has, if ir_datasets knows it."""
    return dataset.docs_metadata().get("count") if hasattr(dataset, "docs_metadata") else None


def _documents(dataset: Any, where: str, language: str, _: object) -> Iterator[Row]:
    return _rows(tqdm(dataset.docs_iter(), desc=where, total=_number(dataset), **BAR), where, "doc_id", language)


def _rows(records: Any, where: str, key: str, language: str) -> Iterator[Row]:
    """Make a row of each record, of which there is at least one."""
    number = 0
    for number, record in enumerate(records, start=1):
        name, text = getattr(record, key), record.default_text()
        if texts_wrong([name]).any() or texts_wrong([text], empty=True).any():
            raise ValueError(f"{place(where, number)}: {told([name, text])}; allowed: an id and a text")
        yield Row(name, language, text.strip())
    if not number:
        raise ValueError(f"there are no {where}")


def _digest(rows: Iterator[Row]) -> str:
    found = hashlib.sha256()
    for row in rows:
        for text in map(str.encode, row):
            found.update(b"%d " % len(text))
            found.update(text)
    return found.hexdigest()


def _judgement(qrel: Any) -> tuple[str, str, str]:
    return qrel.query_id, qrel.doc_id, str(qrel.relevance)
