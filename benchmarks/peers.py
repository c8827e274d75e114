"""The peers of the metric: each reports on one pool of passages, to full depth, in its own public way.

A peer is a function of a `Pool`. It prepares all that is not the peer's own work (ids, judgements, data tables) and
returns a function without arguments, which is timed: it goes from embeddings to values. All take the inner product of
unit vectors in float32 and are asked for `MEASURES` and nothing else. Other work that they do cannot be turned off.

They differ in the following, but not in the values that they compute of `with_exact_scores`:

- sentence-transformers gives means over the questions only. It breaks ties by the ids, which are here in the order of
  the corpus, so it breaks them as we do.
- mteb cuts average precision at a depth. It is asked for the depth of the whole pool, which cuts nothing. It adds nAUC
  and reciprocal ranks unasked.
- torchmetrics takes a passage with a score of 0 or less for irrelevant, so scores are raised by 2, which rounds them.
  It may order ties in any way, as faiss does.
- ranx knows passages by hashes of their ids.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

MEASURES = ("map", "ndcg@10", "recall@1", "recall@10", "recall@100")
_CUTS = (1, 10, 100)
AGREEMENT = 1e-6


@dataclass(frozen=True)
class Pool:
    """Questions and the passages among which they find theirs.

    Attributes:
        queries: unit vectors. (Q, D)
        passages: unit vectors, in the order of the corpus, which settles ties. (P, D)
        relevant: rows of the relevant passages of each question, at least one. Q arrays
    """

    queries: np.ndarray
    passages: np.ndarray
    relevant: list[np.ndarray]

    @property
    def query_ids(self) -> list[str]:
        return [f"q{row:07}" for row in range(len(self.queries))]

    @property
    def passage_ids(self) -> list[str]:
        return [f"p{row:07}" for row in range(len(self.passages))]

    @property
    def qrels(self) -> dict[str, dict[str, int]]:
        names = np.array(self.passage_ids)
        return {
            query: dict.fromkeys(names[rows].tolist(), 1)
            for query, rows in zip(self.query_ids, self.relevant, strict=True)
        }

    def in_float32(self) -> "Pool":
        return replace(self, queries=self.queries.astype(np.float32), passages=self.passages.astype(np.float32))


def with_exact_scores(pool: Pool) -> Pool:
    """Return a pool of the same questions and passages whose float32 inner products are whole numbers, and so exact.

    A question's P passages are sorted by the float64 scores of the pool, the first of equal ones ahead. The best gets
    the score P and the worst 1. For this, question n is the n-th unit vector, and the n-th number of a passage is its
    score. So a peer's values depend neither on float32 nor on how it breaks ties.
    """
    # The order of summation decides the last digits. Without them, equal passages have equal scores.
    scores = np.round(pool.queries.astype(np.float64) @ pool.passages.astype(np.float64).T, 12)  # (Q, P)
    order = np.argsort(-scores, axis=1, kind="stable")
    places = np.empty(scores.shape, dtype=np.float32)
    np.put_along_axis(places, order, np.arange(scores.shape[1], 0, -1, dtype=np.float32)[None], axis=1)
    return replace(pool, queries=np.eye(len(places), dtype=np.float32), passages=np.ascontiguousarray(places.T))


def faiss_and_pytrec_eval(pool: Pool) -> Callable[[], np.ndarray]:
    import faiss
    import pytrec_eval

    query_ids, passage_ids, qrels = pool.query_ids, np.array(pool.passage_ids, dtype=object), pool.qrels
    names = [{"map": "map", "ndcg@10": "ndcg_cut_10"}.get(name, name.replace("@", "_")) for name in MEASURES]

    def report() -> np.ndarray:
        index = faiss.IndexFlatIP(pool.passages.shape[1])
        index.add(pool.passages)
        scores, found = index.search(pool.queries, len(pool.passages))
        run = {
            query: dict(zip(passage_ids[rows], of_query.tolist(), strict=True))
            for query, rows, of_query in zip(query_ids, found, scores, strict=True)
        }
        values = pytrec_eval.RelevanceEvaluator(qrels, set(names)).evaluate(run)
        return np.array([[values[query][name] for name in names] for query in query_ids])

    return report


def sentence_transformers(pool: Pool) -> Callable[[], np.ndarray]:
    import torch
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
    from sentence_transformers.util import dot_score

    queries, passages = torch.from_numpy(pool.queries), torch.from_numpy(pool.passages)
    encoder = SimpleNamespace(encode_query=lambda texts, **options: queries)  # which are encoded already
    texts = [dict.fromkeys(ids, "") for ids in (pool.query_ids, pool.passage_ids)]
    relevant = {query: set(judged) for query, judged in pool.qrels.items()}

    def report() -> np.ndarray:
        evaluator = InformationRetrievalEvaluator(
            *texts,
            relevant,
            mrr_at_k=[1],
            ndcg_at_k=[10],
            accuracy_at_k=[1],
            precision_recall_at_k=list(_CUTS),
            map_at_k=[len(passages)],
            score_functions={"dot": dot_score},
        )
        values = evaluator.compute_all_metrics(encoder, corpus_embeddings=passages)["dot"]
        recalls = [values["recall@k"][k] for k in _CUTS]
        return np.array([values["map@k"][len(passages)], values["ndcg@k"][10], *recalls])

    return report


def mteb(pool: Pool) -> Callable[[], np.ndarray]:
    import datasets
    from mteb._evaluators.retrieval_metrics import calculate_retrieval_scores
    from mteb.models.search_wrappers import SearchEncoderWrapper

    query_ids, qrels, depth = pool.query_ids, pool.qrels, len(pool.passages)
    queries, corpus = (datasets.Dataset.from_dict({"id": ids}) for ids in (query_ids, pool.passage_ids))
    embeddings = {"query": pool.queries, "document": pool.passages}
    encoder = SimpleNamespace(
        mteb_model_meta=None,
        encode=lambda inputs, prompt_type, **options: embeddings[prompt_type.value],
        similarity=lambda left, right: left @ right.T,
    )
    # With a modality, mteb would get texts ready for an encoder, which is no part of the metric.
    task = SimpleNamespace(get_modalities=lambda prompt_type: [])
    given: dict[str, Any] = {"task_metadata": task, "hf_split": "test", "hf_subset": "default"}
    given["encode_kwargs"] = {"show_progress_bar": False}
    names = [f"map_cut_{depth}", "ndcg_cut_10", *(f"recall_{k}" for k in _CUTS)]

    def report() -> np.ndarray:
        searcher = SearchEncoderWrapper(encoder)
        searcher.index(corpus, **given)
        found = searcher.search(queries, top_k=depth, **given)
        values = calculate_retrieval_scores(found, qrels, sorted({*_CUTS, depth})).all_scores
        return np.array([[values[query][name] for name in names] for query in query_ids])

    return report


def ranx(pool: Pool) -> Callable[[], np.ndarray]:
    from ranx import Qrels, Run, evaluate

    query_ids, passage_ids, qrels = pool.query_ids, pool.passage_ids, Qrels(pool.qrels)

    def report() -> np.ndarray:
        scores = pool.queries @ pool.passages.T
        found = {
            query: dict(zip(passage_ids, row.tolist(), strict=True))
            for query, row in zip(query_ids, scores, strict=True)
        }
        run = Run(found)
        evaluate(qrels, run, list(MEASURES))
        return np.array([[run.scores[name][query] for name in MEASURES] for query in query_ids])

    return report


def torchmetrics(pool: Pool) -> Callable[[], np.ndarray]:
    import torch
    from torchmetrics import MetricCollection
    from torchmetrics.retrieval import RetrievalMAP, RetrievalNormalizedDCG, RetrievalRecall

    queries, passages = torch.from_numpy(pool.queries), torch.from_numpy(pool.passages)
    target = torch.zeros(len(queries), len(passages), dtype=torch.bool)
    for row, relevant in enumerate(pool.relevant):
        target[row, torch.from_numpy(relevant)] = True
    indexes = torch.arange(len(queries))[:, None].expand_as(target)
    each = {"aggregation": lambda values, dim=None: values}  # no mean: the value of each question

    def report() -> np.ndarray:
        metrics = MetricCollection(
            {"map": RetrievalMAP(**each), "ndcg@10": RetrievalNormalizedDCG(top_k=10, **each)}
            | {f"recall@{k}": RetrievalRecall(top_k=k, **each) for k in _CUTS}
        )
        metrics.update(queries @ passages.T + 2, target, indexes=indexes)
        values = metrics.compute()
        return np.stack([values[name].numpy() for name in MEASURES], axis=1)

    return report


PEERS: dict[str, Callable[[Pool], Callable[[], np.ndarray]]] = {
    "faiss full depth + pytrec_eval": faiss_and_pytrec_eval,
    "sentence-transformers": sentence_transformers,
    "ranx": ranx,
    "mteb": mteb,
    "torchmetrics": torchmetrics,
}
# The packages that each is installed as.
PACKAGES = {peer: (peer,) for peer in PEERS} | {"faiss full depth + pytrec_eval": ("faiss-cpu", "pytrec-eval-terrier")}


def check_peer(name: str, exact: Sequence[Pool], ours: Sequence[np.ndarray]) -> float:
    """Return the largest difference of a peer's values from ours in some pools.

    Args:
        name: of the peer.
        exact: pools with exact scores.
        ours: the measures of their questions, for each pool. (Q, 5)

    Raises:
        ArithmeticError: the difference is `AGREEMENT` or more, or not a number.
    """
    differences = []
    for pool, values in zip(exact, ours, strict=True):
        theirs = PEERS[name](pool)()
        differences.append(np.abs(theirs - (values if theirs.ndim == 2 else values.mean(axis=0))).max())
    largest = float(np.max(differences))
    if not largest < AGREEMENT:
        raise ArithmeticError(f"{name} differs by {largest:.1e} from exact ranks; expected less than {AGREEMENT}")
    return largest
