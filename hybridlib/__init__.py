"""hybridlib: train and evaluate dual encoders on batches that are monolingual or cross-lingual (arXiv 2408.10536).

    params -> corpus -> sampler -> encoder + loss -> ranks -> measures -> results -> figures

One module for each word; each hands a plain value to the next. A name is imported from its module when it is first
used, so that reading parameters does not wait for what computes.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_MODULE_OF = {
    "BatchRatioParams": "study.questions",
    "DomainDataParams": "study.questions",
    "HybridBatchSampler": "sampler.batches",
    "InfoNCE": "loss",
    "LanguageImbalanceParams": "study.questions",
    "MiraclHighResourceParams": "study.questions",
    "MlqaLanguageFamiliesParams": "study.questions",
    "ParallelCollator": "sampler.collator",
    "ParallelCorpus": "data.corpus",
    "RankCounter": "metric.ranks",
    "RetrievalTask": "data.task",
    "Run": "study.run",
    "Trial": "study.run",
    "beside": "study.report.paper",
    "code_switch": "data.code_switching",
    "compute_runs": "study.run",
    "describe": "study.card",
    "describe_run": "study.card",
    "evaluate": "evaluation.evaluate",
    "evaluate_embeddings": "evaluation.evaluate",
    "fine_tune": "training.fine_tune",
    "language_shares": "evaluation.search",
    "load_corpus": "data.load",
    "load_encoder": "training.starts",
    "load_task": "data.load",
    "mine_negatives": "training.negatives",
    "not_comparable": "study.report.paper",
    "paper_figures": "study.report.paper",
    "question_domains": "data.load",
    "read_lareqa": "data.sources.lareqa",
    "read_means": "study.report.results",
    "read_questions": "study.report.results",
    "relevant_ranks": "metric.ranks",
    "search": "evaluation.search",
    "summarize": "study.report.results",
    "task_from_corpus": "data.task",
    "task_from_lareqa": "data.sources.lareqa",
    "write_results": "study.report.results",
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
