"""Readers of the embedded corpus, as training data and as evaluation tasks."""

import hashlib
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import babel
import numpy as np
import pandas as pd

from hybridlib.data.atlas.facts import SPLITS, atlas_facts, atlas_names, atlas_paraphrases, atlas_texts
from hybridlib.data.checks import check_languages, check_split
from hybridlib.data.corpus import ParallelCorpus, connected_groups
from hybridlib.data.task import RetrievalTask
from hybridlib.names import LANGUAGES


def read_corpus(name: str, *, split: str, languages: Sequence[str] | None, seed: int) -> ParallelCorpus:
    """Read the embedded corpus, or the names in it alone.

    Args:
        name: `atlas` or `atlas-names`.
        split: `train`; `atlas` also has `validation` and `test`.
        languages: the languages of the grid, in order; all 21 unless given.
        seed: chooses the split and the sentence frames.

    Raises:
        ValueError: there is no such split or language.
    """
    frame = _facts_as_items(split, seed) if name == "atlas" else _names_as_items(split)
    return ParallelCorpus.from_frame(frame.assign(dataset=name), check_languages(languages, LANGUAGES, name))


def read_task(name: str, *, split: str | None, seed: int) -> RetrievalTask:
    """Read one of the embedded tasks; the pool holds the passages of all facts.

    Args:
        name: `atlas`, `atlas-paraphrased` or `atlas-partial`.
        split: chooses the facts that are asked about: `train`, `validation` or `test` (also if None).
        seed: chooses the split, the sentence frames and, for `atlas-partial`, the languages of each fact.

    Raises:
        ValueError: there is no such split.
    """
    split = check_split("test" if split is None else split, SPLITS)
    facts = atlas_facts(seed)
    texts = atlas_texts(facts, seed)
    if name == "atlas-partial":
        texts = texts[_draw_existing(len(facts), seed)]
    told = atlas_paraphrases(facts, seed) if name == "atlas-paraphrased" else texts
    asked = texts.fact.isin(facts.fact[facts.split == split])
    queries = texts[asked].sort_values("language", kind="stable").rename(columns={"query": "text"})
    queries["query_id"] = queries.language + ":" + queries.fact
    passages = told.sort_values("language", kind="stable").rename(columns={"passage": "text"})
    passages["passage_id"] = passages.language + ":" + passages.fact
    if name == "atlas-paraphrased":
        passages["passage_id"] += ":" + passages.number.astype(str)
    qrels = queries[["query_id", "fact"]].merge(passages[["passage_id", "fact"]], on="fact")
    return RetrievalTask(queries.rename(columns={"fact": "question"}), passages, qrels.assign(relevance=1))


@cache
def revision() -> str:
    """Name the version of the embedded corpus: the first 16 digits of the SHA-256 of its files, and Babel's version.

    Babel ships the CLDR, which the facts are from.
    """
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted([*folder.glob("*.py"), *folder.glob("frames/*.yaml")]):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{digest.hexdigest()[:16]} (Babel {babel.__version__})"


@lru_cache(maxsize=2)
def _facts_as_items(split: str, seed: int) -> pd.DataFrame:
    """Make an item of every fact of a split."""
    check_split(split, SPLITS)
    facts = atlas_facts(seed)
    # Texts are made for all facts before the split is taken, since the text of a fact must not depend on the split.
    frame = atlas_texts(facts, seed).merge(facts.loc[facts.split == split, ["fact", "domain"]], on="fact")
    return frame.rename(columns={"fact": "item"}).assign(passage_group=frame.fact)


def _names_as_items(split: str) -> pd.DataFrame:
    """Make items whose question and passage are the same name; so a cross-lingual pair is a translation pair."""
    check_split(split, ("train",))
    names = atlas_names().rename_axis("item").reset_index()
    frame = names.melt(id_vars="item", var_name="language", value_name="query")
    frame = frame.sort_values("item", kind="stable", ignore_index=True)
    # Two names may be alike: Arabic the language and Arabic the script are the same word in many languages.
    groups = connected_groups(frame["item"], frame.language + ":" + frame["query"].str.casefold())
    kind = frame["item"].str.partition(":")[0]
    return frame.assign(passage=frame["query"], passage_group=frame["item"].map(groups), domain=kind)


def _draw_existing(facts: int, seed: int) -> np.ndarray:
    """Draw the languages in which each fact exists: English and one to three others. (facts * L,)"""
    rng = np.random.default_rng([seed, 3])
    order = np.argsort(rng.random((facts, len(LANGUAGES))), axis=1)
    exists = np.zeros((facts, len(LANGUAGES)), dtype=bool)
    english = LANGUAGES.index("en")
    for row, (languages, others) in enumerate(zip(order, rng.integers(1, 4, facts), strict=True)):
        exists[row, [english, *[code for code in languages if code != english][:others]]] = True
    return exists.ravel()
