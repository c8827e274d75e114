"""hybridlib: train and evaluate dual encoders on batches that are monolingual or cross-lingual (arXiv 2408.10536).

    params -> corpus -> sampler -> encoder + loss -> ranks -> measures -> results -> figures

One module for each word; each hands a plain value to the next.
"""

from hybridlib.corpus import ParallelCorpus, load_corpus
from hybridlib.encoder import load_encoder
from hybridlib.evaluation import evaluate, evaluate_embeddings, summarize
from hybridlib.lareqa import read_lareqa
from hybridlib.loss import InfoNCE
from hybridlib.params import BatchRatioParams
from hybridlib.ranks import RankCounter, relevant_ranks
from hybridlib.runs import Run, compute_runs, read_means, write_results
from hybridlib.sampler import HybridBatchSampler
from hybridlib.task import RetrievalTask, load_task, task_from_lareqa
from hybridlib.training import ParallelCollator, fine_tune

__version__ = "0.1.0"

__all__ = [
    "BatchRatioParams",
    "HybridBatchSampler",
    "InfoNCE",
    "ParallelCollator",
    "ParallelCorpus",
    "RankCounter",
    "RetrievalTask",
    "Run",
    "compute_runs",
    "evaluate",
    "evaluate_embeddings",
    "fine_tune",
    "load_corpus",
    "load_encoder",
    "load_task",
    "read_lareqa",
    "read_means",
    "relevant_ranks",
    "summarize",
    "task_from_lareqa",
    "write_results",
]
