"""The parts of a model card that the trainer cannot know: name, licence, languages and results of a run."""

from collections.abc import Mapping

import pandas as pd
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator

from hybridlib.study.report.results import summarize
from hybridlib.study.run import Run


class _RetrievalTask(SentenceEvaluator):
    """The name under which a card shows results; it evaluates nothing."""

    description = "Information Retrieval"

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def complete_card(encoder: SentenceTransformer, run: Run, results: Mapping[str, pd.DataFrame], *, licence: str) -> None:
    """Complete the model card that sentence-transformers writes when a trained encoder is saved.

    Args:
        encoder: changed in place.
        run: the run that trained it.
        results: those of the run, as returned by `evaluate`, by the names of its tests.
        licence: the encoder's licence as the hub spells it, such as `apache-2.0`.
    """
    card = encoder.model_card_data
    alpha = f" (alpha {run.alpha:g})" if run.strategy == "hybrid" else ""
    start = run.encoder.partition("@")[0].rstrip("/").split("/")[-1]
    card.model_name = f"{start} trained on {run.corpus} with {run.strategy} batches{alpha}"
    card.license = licence
    card.language = [str(code) for code, items in run.load_corpus().sizes().items() if items]
    card.local_files_only = True  # nothing is looked up on the hub
    card.add_tags(["multilingual", "information-retrieval", "hybridlib"])
    for name, values in results.items():
        metrics = {
            f"{setting} {measure}": round(value, 4)
            for setting, row in summarize(values).to_dict("index").items()
            for measure, value in row.items()
            if value == value  # not NaN, where the measure is not defined in the setting
        }
        card.set_evaluation_metrics(_RetrievalTask(name), metrics)
