"""The public names of the package, and the modules they are from. `__init__.py` hands each out at its first use."""

from .data.corpus import ParallelCorpus as ParallelCorpus
from .data.formats.beir import read_beir as read_beir
from .data.formats.ir_datasets import from_ir_datasets as from_ir_datasets
from .data.formats.joining import join_tasks as join_tasks
from .data.formats.mteb import from_mteb as from_mteb
from .data.formats.parallel.read import read_parallel as read_parallel
from .data.formats.squad import read_squad as read_squad
from .data.formats.tables import from_dataset as from_dataset
from .data.formats.trec import read_trec as read_trec
from .data.load import load_corpus as load_corpus
from .data.load import load_task as load_task
from .data.task import RetrievalTask as RetrievalTask
from .evaluation.evaluate import evaluate as evaluate
from .evaluation.evaluate import evaluate_embeddings as evaluate_embeddings
from .evaluation.search import search as search
from .loss.module import InfoNCE as InfoNCE
from .metric.ranks import RankCounter as RankCounter
from .metric.ranks import relevant_ranks as relevant_ranks
from .sampler.batches import HybridBatchSampler as HybridBatchSampler
from .sampler.collator import ParallelCollator as ParallelCollator
from .study.report.results import summarize as summarize
from .training.fine_tune import fine_tune as fine_tune
from .training.negatives import mine_negatives as mine_negatives
from .training.settings import Training as Training
from .training.starts import load_encoder as load_encoder

__version__: str
