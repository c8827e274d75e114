"""Hard negatives: for every question a passage that an encoder finds near, although it does not answer.

The paper trains on triplets and does not say where its negatives are from. Here `mine_hard_negatives` of
sentence-transformers mines them, over faiss, for each question among the passages of its language. A pair whose passage
is in another language than its question takes the negative of the passage's row. Positive and negative are then in one
language, so the language does not give the answer away.

A passage that is near, but not marked as relevant, is often relevant all the same. Three rules keep such false
negatives out:

1. A passage of the question's own passage group is never taken, nor is a text that is equal to one of them.
2. The same holds for the passage groups of all questions of the same words.
3. A passage must score lower than the question's own by a margin. 5 % of that score was the best of the mining methods
   that NV-Retriever compares (Moreira et al., 2024, arXiv 2407.15831).

So mine with an encoder that was trained to retrieve. A language model that was not, such as XLM-R, gives any two texts
nearly the same score (https://github.com/huggingface/transformers/issues/23946), and the margin then leaves nothing
but random passages.
"""

import contextlib
import io
import itertools
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import pandas as pd
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives, pairwise_cos_sim
from torch.nn.functional import normalize
from tqdm.auto import tqdm

from hybridlib.arguments import Count, Seed, Share, Whole, checked
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.table import without_negatives
from hybridlib.encoder.embed import embed_texts
from hybridlib.metric.arguments import checked_array
from hybridlib.names import Role

logger = logging.getLogger(__name__)


@checked
def mine_negatives(
    corpus: ParallelCorpus,
    encoder: SentenceTransformer,
    *,
    range_min: Whole = 0,
    range_max: Count = 100,
    relative_margin: Share = 0.05,
    batch_tokens: Count | None = None,
    seed: Seed = 0,
    progress: bool = False,
) -> ParallelCorpus:
    """Give every row of a corpus a negative: the nearest passage that the rules of this module leave.

    Where they leave none, the negative is drawn from the other passages of the language, so that every batch is of
    triplets; a warning is logged if these are most of a language. One language is worked on at a time, with its texts
    and embeddings in memory. `thin` and `compose` leave the negatives out, so mine last.

    Args:
        corpus: its rows stay as they are, in their order.
        encoder: finds what is near, by cosine, whatever its own similarity is, and with its own prompts. It may be the
            one to fine-tune, if that can retrieve.
        range_min: how many of the nearest that are left to skip; 0 by default, since the margin does this work.
        range_max: how many of the nearest to look at, besides false negatives; above `range_min`. More cost little.
            With fewer, more negatives are random. Up to `range_max` false negatives are passed over.
        relative_margin: how far below the score of the question's own passage to begin, as a share of it, 0 to 1.
        batch_tokens: see `hybridlib.encoder.embed.embed_texts`.
        seed: draws the random negatives.
        progress: show progress bars.

    Returns:
        The corpus, with two more columns in its table: `negative`, a passage in the row's language, and
        `negative_group`, its passage group. They are "" and -1 where the item is missing, or where the language has
        no passage that is not a false negative.

    Raises:
        ValueError: an argument is of another type or out of range, or an embedding is not finite.
    """
    if range_max <= range_min:
        raise ValueError(f"range_max is {range_max}; allowed: more than range_min, which is {range_min}")
    table = without_negatives(corpus.table)
    negative, group = np.full(len(table), "", dtype=object), np.full(len(table), -1)
    for number, language in enumerate(tqdm(corpus.languages, desc="mining", unit="language", disable=not progress)):
        rows = np.arange(number, len(table), len(corpus.languages))
        pairs = table.select_columns(["query", "passage", "passage_group"]).select(rows).to_pandas()
        present = (pairs.passage.fillna("") != "").to_numpy()
        if not present.any():
            continue
        rows, pairs = rows[present], pairs[present].reset_index(drop=True)
        quiet, false = _QuietEncoder(encoder, batch_tokens, progress), _false_negatives(pairs)
        chosen = _find_hardest(pairs, false, quiet, range_min, range_max, relative_margin)  # (rows,)
        random = (chosen < 0).sum()
        level = logging.WARNING if random > len(chosen) / 2 else logging.INFO
        logger.log(level, "%s: %d of %d negatives are random, as no passage is hard", language, random, len(chosen))
        chosen = _draw_missing(chosen, pairs, false, np.random.default_rng([seed, number]))
        rows, chosen = rows[chosen >= 0], chosen[chosen >= 0]
        negative[rows], group[rows] = pairs.passage.to_numpy()[chosen], pairs.passage_group.to_numpy()[chosen]
    table = table.add_column("negative", negative.tolist(), feature=datasets.Value("string"))
    return ParallelCorpus(table.add_column("negative_group", group, feature=datasets.Value("int64")))


def _false_negatives(pairs: pd.DataFrame) -> dict[str, set[str]]:
    """Return the passages that are no negatives of a question, those of all its groups, by the question's text."""
    passages: defaultdict[int, set[str]] = defaultdict(set)
    false: defaultdict[str, set[str]] = defaultdict(set)
    for group, passage in zip(pairs.passage_group, pairs.passage, strict=True):
        passages[group].add(passage)
    for query, group in zip(pairs["query"], pairs.passage_group, strict=True):
        false[query] |= passages[group]
    return false


def _find_hardest(
    pairs: pd.DataFrame,
    false: Mapping[str, set[str]],
    encoder: "_QuietEncoder",
    range_min: int,
    range_max: int,
    relative_margin: float,
) -> np.ndarray:
    """Return the row of the hardest negative of each pair of a language; -1 where there is none. (rows,)"""
    range_min, range_max = min(range_min, len(pairs)), min(range_max, len(pairs) + 1)  # there are no more to look at
    # False negatives are not handed over as positives: the margin would then be that of the farthest of the group.
    more = min(max(map(len, false.values())) - 1, range_max)
    # The search shows a progress bar, which no argument turns off.
    with contextlib.nullcontext() if encoder.progress else contextlib.redirect_stderr(io.StringIO()):
        mined = mine_hard_negatives(
            datasets.Dataset.from_pandas(pairs[["query", "passage"]], preserve_index=False),
            encoder,  # type: ignore[arg-type]
            num_negatives=range_min + 1 + more,
            range_max=range_max + more,
            relative_margin=relative_margin,
            use_faiss=True,
            output_format="labeled-list",
            verbose=False,
        )
    near = {query: texts[1:] for query, texts in zip(mined["query"], mined["passage"], strict=True)}  # nearest first
    first = dict(zip(pairs.passage[::-1], pairs.index[::-1], strict=True))  # the row in which each text comes first
    chosen = np.full(len(pairs), -1)
    for row, query in enumerate(pairs["query"]):
        left = [text for text in near.get(query, ()) if text not in false[query]][range_min:]
        if left:
            chosen[row] = first[left[0]]
    return chosen


def _draw_missing(
    chosen: np.ndarray, pairs: pd.DataFrame, false: Mapping[str, set[str]], rng: np.random.Generator
) -> np.ndarray:
    """Draw a row where none was chosen: the first true negative from a random place on, in a random order."""
    queries, passages = pairs["query"].tolist(), pairs.passage.tolist()
    chosen, order = chosen.copy(), rng.permutation(len(pairs)).tolist()
    for row in np.flatnonzero(chosen < 0):
        start = int(rng.integers(len(order)))
        onwards = itertools.chain(range(start, len(order)), range(start))
        chosen[row] = next((order[at] for at in onwards if passages[order[at]] not in false[queries[row]]), -1)
    return chosen


class _QuietEncoder:
    """An encoder that embeds as the rest of the library does, and shows progress bars only if they are wanted."""

    def __init__(self, encoder: SentenceTransformer, batch_tokens: int | None, progress: bool) -> None:
        self.encoder = encoder
        self.batch_tokens = batch_tokens
        self.progress = progress

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode_query(self, texts: list[str], **options: Any) -> np.ndarray:
        return self._embed(texts, "query")

    def encode_document(self, texts: list[str], **options: Any) -> np.ndarray:
        return self._embed(texts, "document")

    def similarity_pairwise(self, queries: np.ndarray, passages: np.ndarray) -> torch.Tensor:
        """Score each question's own passage as the search scores the others, whatever the encoder's similarity."""
        return pairwise_cos_sim(queries, passages)

    def _embed(self, texts: list[str], role: Role) -> np.ndarray:
        """Embed texts as vectors of length 1, for which `mine_hard_negatives` asks. (texts, D)"""
        embeddings = embed_texts(self.encoder, texts, role=role, batch_tokens=self.batch_tokens, progress=self.progress)
        name = "query_embeddings" if role == "query" else "passage_embeddings"
        return normalize(torch.from_numpy(checked_array(embeddings, name))).numpy()
