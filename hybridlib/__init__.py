"""hybridlib: train and evaluate dual encoders on batches that are monolingual or cross-lingual (arXiv 2408.10536).

    params -> corpus -> sampler -> encoder + loss -> ranks -> measures -> results -> figures

One module for each word; each hands a plain value to the next. A name is imported from its module when it is first
used, so that reading parameters does not wait for what computes.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_MODULE_OF = {
    "BatchRatioParams": "questions",
    "DomainDataParams": "questions",
    "HybridBatchSampler": "sampler",
    "Index": "index",
    "InfoNCE": "loss",
    "LanguageImbalanceParams": "questions",
    "MiraclHighResourceParams": "questions",
    "MlqaLanguageFamiliesParams": "questions",
    "ParallelCollator": "training",
    "ParallelCorpus": "corpus",
    "RankCounter": "ranks",
    "RetrievalTask": "task",
    "Run": "runs",
    "Trial": "runs",
    "beside": "paper",
    "code_switch": "code_switching",
    "compute_runs": "runs",
    "describe": "model_card",
    "describe_run": "model_card",
    "evaluate": "evaluation",
    "evaluate_embeddings": "evaluation",
    "fine_tune": "training",
    "language_shares": "index",
    "load_corpus": "corpus",
    "load_encoder": "encoder",
    "load_task": "task",
    "mine_negatives": "negatives",
    "not_comparable": "paper",
    "paper_figures": "paper",
    "question_domains": "task",
    "read_lareqa": "sources.lareqa",
    "read_means": "results",
    "read_questions": "results",
    "relevant_ranks": "ranks",
    "search": "index",
    "summarize": "results",
    "task_from_corpus": "task",
    "task_from_lareqa": "task",
    "write_results": "results",
}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'hybridlib' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"hybridlib.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
