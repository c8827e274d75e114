"""Tasks of MTEB (Muennighoff et al., 2023) in its version 2, read through its own objects.

Texts are those that MTEB gives to an encoder: a title is put before the text of a passage, and an instruction behind
that of a query. Prompts are left to the encoder. A subset is a language, or a pair of languages, as a rule. Languages
get their codes of CLDR (`deu-Latn` is `de`), which name the script only where a task has a language in several and this
one is not its main script (`zho-Hant` is `zh-Hant`).

MTEB counts a query without a relevant passage as 0; here it takes no part in any mean.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import datasets
import pyarrow as pa
from babel.core import get_global
from pydantic import SkipValidation

from hybridlib.arguments import Name, Names, checked, told
from hybridlib.data.checks import check_columns, texts_wrong
from hybridlib.data.formats.joining import join_languages
from hybridlib.data.formats.judgements import Missing, judged_task, qrels_of
from hybridlib.data.formats.lines import queries_of
from hybridlib.data.passages import content_digest
from hybridlib.data.sources.collection import Part, Row, collect
from hybridlib.data.sources.records import place
from hybridlib.data.task import RetrievalTask
from hybridlib.files import Seen
from hybridlib.names import script

logger = logging.getLogger(__name__)

_CODES = {"tgl": "tl"}  # CLDR takes Tagalog for Filipino


@checked
def from_mteb(
    task: Annotated[Any, SkipValidation],
    *,
    subsets: Names | None = None,
    split: Name | None = None,
    first: Literal["queries", "passages"] | None = None,
    parallel: bool | None = None,
    missing: Missing = "refuse",
) -> RetrievalTask:
    """Read a retrieval task of MTEB, whose data is loaded if it is not yet; several subsets are joined in one pool.

    Args:
        task: as made by `mteb.get_task`.
        subsets: those to take, in order; all of the task unless given.
        split: that of the data; the one that the task has unless given.
        first: where a subset is in two languages, what is in the first of them, as tasks of MTEB differ in this:
            `passages` in BelebeleRetrieval, `queries` in CUREv1.
        parallel: whether an id names the same in all subsets; to be said of several, see `join_tasks`. It puts the name
            of the subset before ids.
        missing: see `read_beir`.

    Raises:
        ImportError: mteb is not installed.
        ValueError: it is no retrieval task of texts, has no such subset or split, ranks given passages only, or does
            not tell the languages of a subset; it is not said whether subsets are parallel; or the data is not as it
            must be, and the message names the row.
    """
    _check_task(task)
    name, every = task.metadata.name, task.metadata.hf_subsets_to_langscripts
    chosen = task.hf_subsets if subsets is None else subsets
    _check_names("subsets", chosen, list(every), name)
    splits = list(task.eval_splits)
    if split is None and len(splits) > 1:
        raise ValueError(f"split is None; allowed, as {name} has several: {', '.join(splits)}")
    split = split or splits[0]
    _check_names("split", [split], splits, name)
    codes = _codes(spoken for subset in every.values() for spoken in subset)
    sides = {}  # the languages of queries and passages
    for subset in chosen:
        sides[subset] = _sides(f"subset {told(subset)} of {name}", [codes[one] for one in every[subset]], first)
    if not task.data_loaded:
        task.load_data()
    task.convert_v1_dataset_format_to_v2(num_proc=None)
    if len(chosen) == 1:
        return _read(task, split, missing, sides, chosen[0])
    if len({passages for _, passages in sides.values()}) < len(chosen):
        logger.warning(
            "%s: subsets have passages in one language; the same passage of two subsets is two passages", name
        )
    return join_languages(partial(_read, task, split, missing, sides), chosen, parallel)


def _check_task(task: Any) -> None:
    if not find_spec("mteb"):
        raise ImportError("from_mteb needs the package mteb: pip install mteb")
    from mteb.abstasks import AbsTaskRetrieval

    if not isinstance(task, AbsTaskRetrieval):
        raise ValueError(f"task is {told(task)}; allowed: a retrieval task of MTEB, as made by mteb.get_task")
    name, modalities = task.metadata.name, task.metadata.modalities
    if modalities != ["text"]:
        raise ValueError(f"task is {name}, which is of {', '.join(modalities)}; allowed: a task of texts alone")
    if task.skip_first_result:
        raise ValueError(f"task is {name}, which skips the first result; allowed: one that ranks all passages")


def _check_names(argument: str, chosen: Sequence[str], allowed: Sequence[str], name: str) -> None:
    unknown = [one for one in chosen if one not in allowed]
    if unknown or not chosen or len(set(chosen)) < len(chosen):
        some = f"{', '.join(allowed[:12])}{', ...' if len(allowed) > 12 else ''}"
        wrong = told(unknown[0] if unknown else list(chosen))
        raise ValueError(f"{argument} is {wrong}; allowed in {name}, each once: {some}")


def _codes(spoken: Iterable[str]) -> dict[str, str]:
    """Return the code of each language of a task, which is written as MTEB does, such as `deu-Latn`."""
    scripts: dict[str, set[str]] = defaultdict(set)
    codes = {}
    for one in spoken:
        language, _, written = one.partition("-")
        code = _CODES.get(language) or get_global("language_aliases").get(language, language).replace("_", "-")
        scripts[code].add(written)
        codes[one] = (code, written)
    return {
        one: code if len(scripts[code]) == 1 or script(code) == written else f"{code}-{written}"
        for one, (code, written) in codes.items()
    }


def _sides(where: str, languages: Sequence[str], first: str | None) -> tuple[str, str]:
    """Return the language of the queries of a subset and that of its passages."""
    found = list(dict.fromkeys(languages))
    if len(found) > 2:
        raise ValueError(f"{where} is in {', '.join(found)}; allowed: a subset in one language or two")
    if len(found) == 2 and first is None:
        raise ValueError(
            f"first is None, and {where} is in {found[0]} and {found[1]}; allowed: queries or passages, whichever are "
            f"in {found[0]}"
        )
    one, other = found[0], found[-1]
    return (other, one) if first == "passages" else (one, other)


def _read(task: Any, split: str, missing: Missing, sides: Mapping[str, tuple[str, str]], subset: str) -> RetrievalTask:
    """Read a subset."""
    asked, held = sides[subset]
    name = f"{task.metadata.name}, subset {subset}, split {split}"
    data = task.dataset.get(subset, {}).get(split)
    if data is None:
        raise ValueError(f"{name}: the data is not loaded; allowed: a task that was loaded with it, or not yet")
    if data.get("top_ranked") is not None:
        raise ValueError(f"{name}: passages are given for every query to rank; allowed: a task that ranks all passages")
    corpus = data["corpus"]
    columns = [column for column in ("id", "title", "text") if column in corpus.column_names]
    check_columns(f"corpus of {name}", columns, ["id", "text"])
    check_columns(f"queries of {name}", data["queries"].column_names, ["id", "text"])
    corpus = corpus.select_columns(columns)
    _check_texts(corpus, f"corpus of {name}")
    read = partial(_passages, corpus, held, f"corpus of {name}")
    part = Part(f"corpus of {name}", ["mteb", held, content_digest(corpus)], read, corpus.data.nbytes)
    rows = enumerate(_queries(data["queries"], asked, f"queries of {name}"), start=1)
    judgements = (
        (query, passage, str(relevance))
        for query, found in data["relevant_docs"].items()
        for passage, relevance in found.items()
    )
    return judged_task(
        queries_of(rows, f"queries of {name}"),
        collect([part]),
        qrels_of(enumerate(judgements, start=1), f"relevant_docs of {name}"),
        missing,
        task.ignore_identical_ids,
    )


def _check_texts(corpus: datasets.Dataset, where: str) -> None:
    for column in corpus.column_names:
        kind = corpus.data.schema.field(column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
            raise ValueError(f"{where}: {column} is of the type {kind}; allowed: texts")
    if not len(corpus):
        raise ValueError(f"{where} has no row; allowed: at least one")


def _passages(corpus: datasets.Dataset, language: str, where: str, seen: Seen) -> Iterator[Row]:
    for number, record in enumerate(corpus, start=1):
        title = _text(record.get("title") or "", "title", place(where, number))
        text = _text(record["text"], "text", place(where, number))
        seen(len(f"{title}{text}".encode()))
        yield Row(_id(record, place(where, number)), language, f"{title} {text}".strip())


def _queries(queries: datasets.Dataset, language: str, where: str) -> Iterator[Row]:
    for number, record in enumerate(queries, start=1):
        text = _text(record["text"], "text", place(where, number))
        instruction = record.get("instruction")
        text += "" if instruction is None else f" {_text(instruction, 'instruction', place(where, number))}"
        yield Row(_id(record, place(where, number)), language, text)


def _id(record: Mapping[str, Any], where: str) -> str:
    if texts_wrong([record["id"]]).any():
        raise ValueError(f"{where}: id is {told(record['id'])}; allowed: a text that is not empty")
    return record["id"]


def _text(value: Any, column: str, where: str) -> str:
    if texts_wrong([value], empty=True).any():
        raise ValueError(f"{where}: {column} is {told(value)}; allowed: a text")
    return value
