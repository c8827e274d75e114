"""hybridlib: train and evaluate dual encoders on batches that are monolingual or cross-lingual (arXiv 2408.10536).

    params -> corpus -> sampler -> encoder + loss -> ranks -> measures -> results -> figures

Each word has a folder, which hands a plain value to the next. These names are all that most users need; everything else
is imported from its folder. A name is imported when it is first used, so that reading parameters does not wait for what
computes.
"""

import importlib
from typing import Any

__version__ = "0.2.0"

_MODULE_OF = {
    "HybridBatchSampler": "sampler.batches",
    "InfoNCE": "loss",
    "ParallelCollator": "sampler.collator",
    "ParallelCorpus": "data.corpus",
    "RankCounter": "metric.ranks",
    "RetrievalTask": "data.task",
    "Training": "training.settings",
    "evaluate": "evaluation.evaluate",
    "evaluate_embeddings": "evaluation.evaluate",
    "fine_tune": "training.fine_tune",
    "load_corpus": "data.load",
    "load_encoder": "training.starts",
    "load_task": "data.load",
    "mine_negatives": "training.negatives",
    "relevant_ranks": "metric.ranks",
    "search": "evaluation.search",
    "summarize": "study.report.results",
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
