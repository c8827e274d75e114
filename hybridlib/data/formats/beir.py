"""BEIR's layout (Thakur et al., 2021): a folder with `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv`.

A line of the corpus is `{"_id": ..., "title": ..., "text": ..., "metadata": {...}}`, where neither title nor metadata
need be. A title is put before its text with a space between them, as BEIR and MTEB do. A line of the queries is
`{"_id": ..., "text": ...}`. The judgements have the columns `query-id`, `corpus-id` and `score` between tabs, and these
names in the first line, which BEIR's own reader skips unread. Each file may be compressed (`.gz`, `.zst`).
"""

import csv
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from hybridlib.arguments import Name, checked, told
from hybridlib.data.formats.joining import join_languages
from hybridlib.data.formats.judgements import Missing, judged_task, read_qrels
from hybridlib.data.formats.lines import BEIR, Code, Paths, cells_of, read_queries, row_of_json
from hybridlib.data.sources.collection import collect, part_of_file
from hybridlib.data.task import RetrievalTask
from hybridlib.files import PACKED

_COLUMNS = ("query-id", "corpus-id", "score")


@checked
def read_beir(
    folder: Paths,
    *,
    language: Code | None = None,
    split: Name = "test",
    parallel: bool | None = None,
    missing: Missing = "refuse",
    ignore_identical_ids: bool = False,
) -> RetrievalTask:
    """Read a retrieval task in BEIR's layout.

    Only the queries that are judged in the split are kept, for `queries.jsonl` holds those of all splits. Ids are those
    of the files, and those of several folders begin with the language.

    Args:
        folder: that of the files, or one for each language.
        language: that of all texts; unless given, each record of a single folder has its code in the field `language`,
            by itself or in its `metadata`.
        split: names the file of the judgements.
        parallel: says how several folders go together; see `join_tasks`.
        missing: what to do with judgements of queries or passages that are not there. `refuse` names the first of them.
            `drop` leaves them out, with a warning, and the `pool` of the task says how values differ from trec_eval's.
        ignore_identical_ids: whether a passage with the id of a query is left out of its ranking. BEIR itself does so,
            which matters for Quora and ArguAna.

    Returns:
        The task. Its passages are memory-mapped if the files of a folder have 100 MB and more.

    Raises:
        FileNotFoundError: a folder or a file is missing.
        ValueError: a line is not as it must be, an id comes twice, a pair is judged in two ways, or a judgement is of
            what is not there; the message names the file and the line. Or an argument is wrong.
    """
    read = partial(_read_folder, split=split, missing=missing, ignore_identical_ids=ignore_identical_ids)
    if isinstance(folder, Mapping):
        if language is not None:
            raise ValueError(f"language is {language!r}; allowed for several folders: None, as they name their own")
        folders = {code: Path(one) for code, one in folder.items()}
        return join_languages(lambda code: read(folders[code], code), folders, parallel)
    if parallel is not None:
        raise ValueError(f"parallel is {parallel}; allowed for a single folder: None")
    return read(Path(folder), language)


def _read_folder(
    folder: Path, language: str | None, *, split: str, missing: Missing, ignore_identical_ids: bool
) -> RetrievalTask:
    corpus, asked, judged = (_file(folder, name) for name in ("corpus.jsonl", "queries.jsonl", f"qrels/{split}.tsv"))
    qrels = read_qrels(judged, _judgement())
    queries = read_queries(asked, partial(row_of_json, BEIR, language, False))
    parse = partial(row_of_json, BEIR, language, True)
    passages = collect([part_of_file(corpus, parse, ["beir", language])])
    return judged_task(queries, passages, qrels, missing, ignore_identical_ids)


def _file(folder: Path, name: str) -> Path:
    """Find a file of the layout, which may be compressed."""
    if not folder.is_dir():
        kind = "is a file" if folder.exists() else "does not exist"
        raise (ValueError if folder.exists() else FileNotFoundError)(
            f"{folder} {kind}; expected a folder with corpus.jsonl, queries.jsonl and qrels/"
        )
    for ending in ("", *PACKED):
        if (path := folder / f"{name}{ending}").exists():
            return path
    if (folder / name).is_symlink():
        raise FileNotFoundError(f"{folder / name} is a link to what does not exist")
    there = sorted(path.name for path in (folder / name).parent.glob("[!.]*"))
    raise FileNotFoundError(f"{folder / name} does not exist, nor with {' or '.join(PACKED)}; there is {told(there)}")


def _judgement() -> Callable[[bytes], tuple[str, str, str] | None]:
    """Return what makes a judgement of a line, and nothing of the first, which must be the header."""
    first = True

    def split(line: bytes) -> tuple[str, str, str] | None:
        nonlocal first
        try:
            # BEIR writes and reads the file so: an id with a quotation mark is quoted.
            rows = list(csv.reader([line.decode()], delimiter="\t", strict=True))
        except csv.Error as error:
            raise ValueError(f"it is no line of a table: {error}") from None
        query, passage, score = cells_of(rows[0] if rows else [], *_COLUMNS)
        if first and (query, passage, score) != _COLUMNS:
            raise ValueError(f"the header is {told([query, passage, score])}; allowed: {', '.join(_COLUMNS)}")
        header, first = first, False
        return None if header else (query, passage, score)

    return split
