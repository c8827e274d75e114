"""Made files of every public source, in the layout of upstream. They are small and have no fault."""

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import load_corpus, load_task
from hybridlib.data.task import RetrievalTask


def read(name: str, **options: Any) -> RetrievalTask | ParallelCorpus:
    """Read a source in the way in which the tests break it: as a corpus or as a task, which for Tatoeba is German's."""
    if name in ("mmarco", "squad-translate", "squadshifts"):
        return load_corpus(name, **({"split": "validation"} if name == "squadshifts" else {}) | options)
    return load_task(name, **({"languages": ["de"]} if name == "tatoeba" else {}) | options)


# --- the formats of SQuAD and of LAReQA, which adds where the sentences of a paragraph begin and end


def paragraph(sentences: Sequence[str], *questions: Sequence[str], asked: str = "{}?") -> dict[str, Any]:
    """Make a paragraph of sentences with questions (key, answers); an answer stands where it is found first."""
    context = " ".join(sentences)
    begin = [sum(len(sentence) + 1 for sentence in sentences[:n]) for n in range(len(sentences))]
    entries = [
        {
            "id": key,
            "question": asked.format(key),
            "answers": [{"answer_start": context.index(text), "text": text} for text in answers],
        }
        for key, *answers in questions
    ]
    breaks = [[start, start + len(sentence)] for start, sentence in zip(begin, sentences, strict=True)]
    return {"context": context, "sentence_breaks": breaks, "qas": entries}


def articles(*pairs: tuple[str, list[dict[str, Any]]]) -> bytes:
    """Make a file of articles: their titles and paragraphs."""
    data = [{"title": title, "paragraphs": paragraphs} for title, paragraphs in pairs]
    return json.dumps({"data": data, "version": "1"}, ensure_ascii=False).encode()


def _mlqa_r(language: str) -> bytes:
    """Make a file: the title is the language's own, each question is in some languages, and others have more text."""
    questions = [("a", "bear")] * (language in ("en", "de")) + [("b", "honey")] * (language in ("en", "es", "zh", "hi"))
    block = paragraph([f"A {language} bear.", f"Its {language} honey."], *questions)
    return articles((f"Bear ({language})", [block] * (1 if questions else 2)))


_BEAR = ["The bear sleeps.", "It eats honey."]
# `a` and `b` are answered by two sentences of the first paragraph, `c` by one of the second.
RAIN, _CATS = ["It rains in Bergen.", "The sun sets at six."], ["Cats sleep all day.", "Dogs do not."]
_REGEN = partial(paragraph, ["Es regnet in Bergen.", "Die Sonne geht um sechs unter."], asked="Frage {}?")
_KATZEN = partial(paragraph, ["Katzen schlafen den ganzen Tag.", "Hunde nicht."], asked="Frage {}?")


def _squadshifts(domain: str) -> bytes:
    """Make two questions on one paragraph and one on another."""
    ships = [f"{domain} has seven ships.", "Its king is Ole.", "He is old."]
    both = paragraph(ships, ("1", "seven", "seven ships"), ("2", "Ole"), asked=f"{{}}? {domain}")
    return articles(("T", [both, paragraph([f"It snowed in {domain}."], ("3", "snowed"), asked=f"{{}}? {domain}")]))


# --- XQuAD and Belebele

# Each row has a key, a passage and a question on it. Belebele's keys are the link of the passage and a number.
ENGLISH = [("a#1", "Rome is old.", "How old?"), ("a#2", "Rome is old.", "Which?"), ("b#1", "Oslo is cold.", "How?")]
GERMAN = [("a#1", "Rom ist alt.", "Wie alt?"), ("a#2", "Rom ist alt.", "Welche?"), ("b#1", "Oslo ist kalt.", "Wie?")]
# The files of the hub have this schema.
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("context", pa.string()),
        ("question", pa.string()),
        ("answers", pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])),
    ]
)


def xquad(rows: Iterable[tuple[Any, ...]], schema: pa.Schema = SCHEMA) -> bytes:
    """Make a table of questions."""
    answers = {"text": ["x"], "answer_start": [0]}
    records = [{"id": key, "context": text, "question": question, "answers": answers} for key, text, question in rows]
    pq.write_table(pa.Table.from_pylist(records, schema=schema), sink := pa.BufferOutputStream())
    return sink.getvalue().to_pybytes()


def belebele(rows: Iterable[tuple[str, str, str]]) -> bytes:
    """Make a line of JSON for every question."""
    records = [
        {"link": key[:-2], "question_number": int(key[-1]), "flores_passage": text, "question": question}
        | {f"mc_answer{n}": "x" for n in range(1, 5)}
        | {"correct_answer_num": "1", "dialect": "eng_Latn", "ds": "2023-05-03"}
        for key, text, question in rows
    ]
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


def xquad_path(language: str) -> str:
    """Return the path of the file of a language."""
    return f"xquad.{language}/validation-00000-of-00001.parquet"


# --- MIRACL


def passage(docid: Any, title: str = "Simba", text: str = "Simba ni mnyama.") -> str:
    """Make the line of a passage."""
    return json.dumps({"docid": docid, "title": title, "text": text})


def gz(*lines: str, encoding: str = "utf-8") -> bytes:
    """Compress lines; the same lines give the same bytes at any time."""
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(encoding), mtime=0)


def miracl(language: str, *corpus: bytes, topics: bytes, qrels: bytes) -> dict[str, bytes]:
    """Name the files of a language as upstream does."""
    files = {f"{name}.miracl-v1.0-{language}-dev.tsv": text for name, text in (("topics", topics), ("qrels", qrels))}
    return files | {f"miracl-corpus-v1.0-{language}/docs-{n}.jsonl.gz": content for n, content in enumerate(corpus)}


_TOPICS = {"topics": b"1#0\tnani?\n2#0\tlini?\n", "qrels": b"1#0\tQ0\t7#0\t1\n1#0\tQ0\t7#1\t0\n2#0\tQ0\t9#0\t1\n"}
_DOCS = [gz(passage("7#0"), passage("7#1")), gz(passage("9#0"), passage("9#1"))]

# --- mMARCO

QUERIES, PASSAGES = list(range(100, 700)), list(range(0, 3000, 2))
# Query 100 + n is answered by passage 2n; query 101 by that of query 100 too; and query 105 has two passages.
JUDGED = [(query, 2 * n) for n, query in enumerate(QUERIES)] + [(101, 0), (105, 2000)]


def packed(member: str, content: bytes) -> bytes:
    """Make an archive of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _mmarco(code: str, kind: str) -> bytes:
    """Make a line for each id, in descending order: files need not be sorted."""
    ids = QUERIES if kind == "query" else PASSAGES
    return "".join(f"{key}\t{kind} {key} auf {code}, 中é\n" for key in reversed(ids)).encode()


# The keys are the name of a source and the path of a file in its folder.
MADE = {
    "xquad-r": {
        "en.json": articles(
            ("Bear", [paragraph(["The bear sleeps.", "It eats honey."], ("a", "sleeps"), ("b", "honey"))])
        )
    },
    "mlqa-r": {f"{code}.json": _mlqa_r(code) for code in ("ar", "de", "en", "es", "hi", "vi", "zh")},
    "squad-translate": {
        "train-v1.1.json": articles(
            ("T", [paragraph(RAIN, ("a", "Bergen"), ("b", "six")), paragraph(_CATS, ("c", "Cats"))])
        ),
        # Here the questions come in another order, and each has a copy of its paragraph.
        "squad.translate.train.en-de.json": articles(
            ("T", [_REGEN(("b", "sechs")), _REGEN(("a", "Bergen")), _KATZEN(("c", "Katzen"))])
        ),
    },
    "squadshifts": {
        "new_wiki_v1.0.json": _squadshifts("new_wiki"),
        "nyt_v1.0.json": _squadshifts("nyt"),
        "reddit_v1.0.json": _squadshifts("reddit"),
        "amazon_reviews_v1.0.json": _squadshifts("amazon"),
    },
    "xquad": {xquad_path("de"): xquad(GERMAN), xquad_path("en"): xquad(ENGLISH)},
    "belebele": {"data/deu_Latn.jsonl": belebele(GERMAN), "data/eng_Latn.jsonl": belebele(ENGLISH)},
    "tatoeba": {
        "tatoeba.deu-eng.deu": "Wo ist der Bahnhof?\nDanke.\nEs regnet\u2028seit gestern.\n".encode(),
        "tatoeba.deu-eng.eng": b"Where is the station?\nThanks.\nIt has rained since yesterday.\n",
    },
    "miracl": miracl("te", *_DOCS, **_TOPICS) | miracl("th", *_DOCS, **_TOPICS),
    "mmarco": {
        "qrels.train.tsv": "".join(f"{q}\t0\t{p}\t1\n" for q, p in JUDGED).encode(),
        "queries.tar.gz": packed("queries.train.tsv", _mmarco("en", "query")),
        "collectionandqueries.tar.gz": packed("collection.tsv", _mmarco("en", "passage")),
        "data/google/queries/train/german_queries.train.tsv": _mmarco("de", "query"),
        "data/google/collections/german_collection.tsv": _mmarco("de", "passage"),
        "data/google/queries/train/dutch_queries.train.tsv": _mmarco("nl", "query"),
        "data/google/collections/dutch_collection.tsv": _mmarco("nl", "passage"),
    },
}
