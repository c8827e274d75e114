"""Whatever files, parameters and tables hold, they are read or refused by name: hypothesis alters what has no fault.

Each test makes a few examples. To look for an hour, `FUZZ=20000 pytest tests/test_fuzz.py --hypothesis-seed=1`.
"""

import copy
import gzip
import io
import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import config
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from made_sources import MADE, read

from hybridlib.data.checks import texts_wrong
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.formats.named import load_named
from hybridlib.data.formats.squad import read_squad
from hybridlib.data.formats.tables import from_dataset
from hybridlib.data.load import SOURCES
from hybridlib.data.sources import belebele, source, xquad
from hybridlib.data.sources.lareqa import read_lareqa, task_from_lareqa
from hybridlib.data.sources.squad import answering_sentence, read_questions
from hybridlib.data.task import RetrievalTask
from hybridlib.files import read_json, read_text, read_yaml
from hybridlib.paths import project_root
from hybridlib.study.cli.notebooks import MODELS

quickly = settings(
    max_examples=int(os.environ.get("FUZZ", "10")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize="FUZZ" not in os.environ,
    phases=[Phase.generate, Phase.shrink],
    print_blob=True,
)
# What people's files hold.
_ODD = [None, True, False, 0, 1, -1, 2, 1.5, 10**30, 1e300, float("nan"), float("inf"), "", " ", "1", "a\r\nb"]
_ODD += ["\ufeff", "\ud800", "\x00", "no", "1e-4", "x" * 1000, "../x", "a:b", "/"]
_ODD += [[], {}, [[]], [None], {"a": 1}, ["en", "en"]]
_BYTES = [b"", b"\xff", b"\x00", b"\r\n", b"\n\n", b"\t", b"\t\t", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800"]
_BYTES += [b"null", b"NaN", b"1e999", b"1" * 5000, b"[" * 2000, b'"', b"{", b"}", b",", b": "]
_BYTES += [b"&a ", b"*a", b"!!int ", b"- ", b"#"]


@st.composite
def altered(draw: st.DrawFn, content: bytes) -> bytes:
    """Alter some bytes, at the places that are drawn."""
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(content)))
        end = min(len(content), begin + draw(st.sampled_from([0, 0, 1, 2, 5, 20, 10**9])))
        copied = st.integers(0, len(content)).map(lambda start, text=content: text[start : start + 30])
        content = content[:begin] + draw(st.sampled_from(_BYTES) | copied | st.binary(max_size=4)) + content[end:]
    return content


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """Change a value somewhere in lists and dictionaries: replace it, take it out, or put it in twice."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        holder, inner = None, value
        while isinstance(inner, dict | list) and inner and (holder is None or draw(st.integers(0, 5))):
            holder = inner
            key: Any = draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
            inner = inner[key]
        if holder is None:
            return draw(st.sampled_from(_ODD))
        how = draw(st.integers(0, 5))
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(inner))
        elif how == 2 and isinstance(holder, dict):
            holder[draw(st.sampled_from(["", "a", "id", "ä"]))] = inner
        else:
            holder[key] = copy.deepcopy(draw(st.sampled_from(_ODD)))
    return value


@st.composite
def files(draw: st.DrawFn, content: bytes) -> bytes:
    """Alter a file, what is compressed in it, or a value of its JSON; and write it in one of several ways."""
    packed = content.startswith(b"\x1f\x8b")
    inner = gzip.decompress(content) if packed else content
    lines = inner.splitlines(keepends=True) if inner.startswith(b"{") and inner.count(b"\n") > 1 else [inner]
    if inner.startswith(b"{") and draw(st.booleans()):
        number = draw(st.integers(0, len(lines) - 1))
        lines[number] = json.dumps(draw(changed(json.loads(lines[number]))), ensure_ascii=draw(st.booleans())).encode(
            errors="surrogatepass"
        ) + b"\n" * (len(lines) > 1)
        inner = b"".join(lines)
    elif inner.startswith(b"PAR1") and draw(st.booleans()):
        inner = parquet(draw(changed(pq.read_table(io.BytesIO(inner)).to_pylist())))
    else:
        inner = draw(altered(inner))
    how = draw(st.sampled_from(["as it was", "as it was", "marked", "windows", "zstd", "gzip", "packed and altered"]))
    if how == "as it was":
        return gzip.compress(inner) if packed else inner
    if how == "marked":
        return b"\xef\xbb\xbf" + inner
    if how == "windows":
        return inner.replace(b"\n", b"\r\n")
    if how == "zstd":
        return pa.compress(inner, "zstd", asbytes=True)
    return gzip.compress(inner) if how == "gzip" else draw(altered(gzip.compress(inner)))


def parquet(rows: Any) -> bytes:
    try:
        pq.write_table(pa.Table.from_pylist(rows), sink := pa.BufferOutputStream())
    except (pa.ArrowException, TypeError, AttributeError, UnicodeEncodeError, OverflowError):
        return b"PAR1"
    return sink.getvalue().to_pybytes()


@contextmanager
def refused_by_name(*names: str):
    """Let errors pass that are documented and name what they are about, in few words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            yield
            event("read")
    except (ValueError, OSError) as error:
        event("refused")
        assert type(error) in (ValueError, FileNotFoundError), repr(error)[:1000]
        assert any(name in str(error) for name in names), repr(error)[:1000]
        assert len(str(error)) < 500 + 2 * max(map(len, names)), repr(error)


# Other files are of the same formats.
_ALIKE = re.compile("-te|nyt|reddit|amazon|dutch|data/eng|xquad[.]en|mlqa-r/(?!en)")
FILES = [(name, path) for name, contents in MADE.items() for path in contents if not _ALIKE.search(f"{name}/{path}")]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return the folder of the made files, of which each example alters one; tables are made anew in each."""
    with tempfile.TemporaryDirectory() as path, pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "HF_DATASETS_CACHE", Path(path) / "cache")
        patch.setattr(source, "_difference", lambda *_: None)
        patch.setenv("HYBRIDLIB_DATA", path)
        for module in (belebele, xquad):
            patch.setattr(module, "_QUESTIONS", 3)
        for name, contents in MADE.items():
            here = [file for file in SOURCES[name].files if file.path.removeprefix(f"{name}/") in contents]
            patch.setitem(vars(SOURCES[name]), "files", tuple(here))
        yield Path(path)


@pytest.mark.parametrize(("name", "path"), FILES)
@quickly
@given(data=st.data())
def test_files_of_public_data_are_read_or_refused_by_name(folder, name, path, data):
    shutil.rmtree(folder / "cache", ignore_errors=True)
    for other, content in MADE[name].items():
        (folder / name / other).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / other).write_bytes(data.draw(files(content)) if other == path else content)
    # Two files may fit each other no more, which names the languages.
    with refused_by_name(str(folder), "do not have the same questions", "one must translate line n", "has no item"):
        found = read(name)
        for table in [found.queries, found.passages] if isinstance(found, RetrievalTask) else []:
            assert not texts_wrong(table["text"]).any()


def _read_questions(path: Path) -> None:
    for question in read_questions(path):
        answering_sentence(question, "en")


PAIRS = b'{"item": "a", "language": "en", "query": "rain?", "passage": "It rains.", "passage_group": 1}\n'
PAIRS += b'{"item": 7, "language": "de", "query": "Schnee?", "passage": "Es schneit.", "domain": "web"}\n'
LAREQA, TATOEBA = MADE["xquad-r"]["en.json"], MADE["tatoeba"]["tatoeba.deu-eng.deu"]
BEIR = {
    "corpus.jsonl": b'{"_id": "a#1", "title": "Rain", "text": "It rains"}\n{"_id": "b", "text": "\\"It snows\\"\\t"}\n',
    "queries.jsonl": b'{"_id": "1", "text": "rain?", "metadata": {}}\n{"_id": "2", "text": "snow?"}\n',
    "qrels/test.tsv": b"query-id\tcorpus-id\tscore\n1\ta#1\t1\n1\tb\t-1\n2\tb\t2\n",
}
TREC = {
    "topics.tsv": b"1\train?\n2\tsnow?\n",
    "qrels.txt": b"1 0 a#1 1\n1 0 b -1\n2 Q0 b 2\n",
    "passages.jsonl": BEIR["corpus.jsonl"],
}
OWN = [(own, path) for own in ("beir", "trec") for path in {"beir": BEIR, "trec": TREC}[own]]


@pytest.mark.parametrize(("own", "path"), OWN)
@quickly
@given(data=st.data())
def test_files_of_ones_own_tasks_are_read_or_refused_by_name(folder, own, path, data):
    for other, content in {"beir": BEIR, "trec": TREC}[own].items():
        (folder / own / other).parent.mkdir(parents=True, exist_ok=True)
        (folder / own / other).write_bytes(data.draw(files(content)) if other == path else content)
    missing = data.draw(st.sampled_from(["refuse", "drop"]))
    with refused_by_name(str(folder / own)):
        task = load_named(f"{own}:{folder / own}", language="en", missing=missing)
        assert not texts_wrong(task.queries.text).any() and not texts_wrong(task.passages.text, empty=True).any()


PARAMS = sorted((project_root() / "params").rglob("*.yaml"))
READERS: dict[str, tuple[Callable[[Path], Any], bytes]] = {
    "lareqa": (lambda path: task_from_lareqa(read_lareqa({"en": path}, paragraphs=True)), LAREQA),
    "questions": (_read_questions, LAREQA),
    "squad": (lambda path: [read_squad({"en": path}, passages=kind) for kind in ("paragraphs", "sentences")], LAREQA),
    "pairs.jsonl": (from_dataset, PAIRS),
    "text": (read_text, TATOEBA),
    "json": (read_json, LAREQA),
    "yaml": (read_yaml, PARAMS[0].read_bytes()),
}


@pytest.mark.parametrize("reader", READERS)
@quickly
@given(data=st.data())
def test_files_of_ones_own_are_read_or_refused_by_name(folder, reader, data):
    read_file, content = READERS[reader]
    path = folder / reader
    path.write_bytes(data.draw(files(content)))
    with refused_by_name(str(path)):
        read_file(path)


@pytest.mark.parametrize("params", PARAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
@quickly
@given(data=st.data())
def test_parameters_are_read_or_refused_by_name(tmp_path_factory, params, data):
    path = tmp_path_factory.getbasetemp() / params.name
    content = params.read_bytes()
    if data.draw(st.booleans()):
        values = data.draw(changed(yaml.safe_load(content)))
        content = yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode(errors="surrogatepass")
    else:
        content = data.draw(altered(content))
    path.write_bytes(content)
    with refused_by_name(str(path)):
        MODELS[params.stem].from_yaml(path).runs()


QUERIES = pd.DataFrame({"query_id": ["1", "2", "3"], "language": ["en", "en", "de"], "text": ["a?", "b?", "c?"]})
PASSAGES = pd.DataFrame({"passage_id": ["x", "y", "z"], "language": ["en", "de", "de"], "text": ["A", "B", "C"]})
QRELS = pd.DataFrame({"query_id": ["1", "2", "3"], "passage_id": ["x", "y", "z"], "relevance": [1, 2, 0]})
ITEMS = pd.DataFrame({"item": [0, 0, 1, 2], "language": ["en", "de", "en", "de"]})
ITEMS = ITEMS.assign(query=[*"abcd"], passage=[*"ABCD"], passage_group=[0, 0, 0, 1], domain="d", dataset="s")
_CELLS = [*_ODD, np.int64(3), np.float32(0.5), pd.NA, pd.NaT, pd.Timestamp(0), np.array([1]), b"a", 1j, "en", "all"]


@st.composite
def tables(draw: st.DrawFn, frame: pd.DataFrame) -> pd.DataFrame:
    """Change cells, columns and rows of a table."""
    frame = frame.astype(object) if draw(st.booleans()) else frame.copy()
    for _ in range(draw(st.integers(0, 2))):
        if not len(frame) or not len(frame.columns):
            return frame
        how, column = draw(st.integers(0, 9)), draw(st.integers(0, len(frame.columns) - 1))
        name = frame.columns[column]
        if how == 0:
            frame = frame.drop(columns=name)
        elif how == 1:
            frame = pd.concat([frame, frame.iloc[: draw(st.integers(0, len(frame)))]])
        elif how == 2:
            frame = pd.concat([frame, frame.iloc[:, column]], axis=1)
        elif how == 3:
            frame = frame.iloc[: draw(st.integers(0, len(frame)))]
        elif how == 4:
            frame = frame.rename(columns={name: draw(st.sampled_from([0, None, "", "text "]))})
        elif how == 5:
            kinds = ["category", "string", "float64", "datetime64[ns]", "bool", "Int64", "complex128"]
            with suppress(ValueError, TypeError):
                frame = frame.assign(**{str(name): frame.iloc[:, column].astype(draw(st.sampled_from(kinds)))})
        else:
            cells = list(frame.iloc[:, column])
            rows = slice(None) if draw(st.booleans()) else slice(0, 1)
            cells[rows] = [draw(st.sampled_from(_CELLS))] * len(cells[rows])
            values = pd.Series(cells, index=frame.index, dtype=object)
            frame = pd.concat([frame.iloc[:, :column], values.rename(name), frame.iloc[:, column + 1 :]], axis=1)
    return frame


@quickly
@given(queries=tables(QUERIES), passages=tables(PASSAGES), qrels=tables(QRELS))
def test_tables_of_a_task_are_taken_or_refused_by_name(queries, passages, qrels):
    with refused_by_name("queries", "passages", "qrels", "query_id", "passage_id"):
        task = RetrievalTask(queries, passages, qrels)
        assert set(map(type, task.queries.text)) == {str}
        assert len(task.pairs) == (task.gains > 0).sum()


@quickly
@given(frame=tables(ITEMS), languages=st.just(["en", "de"]) | changed(["en", "de"]))
def test_tables_of_a_corpus_are_taken_or_refused_by_name(frame, languages):
    with refused_by_name("frame", "languages", "item"):
        corpus = ParallelCorpus.from_frame(frame, languages)
        assert len(corpus) * len(corpus.languages) == len(corpus.table)
