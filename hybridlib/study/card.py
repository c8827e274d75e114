"""Model cards: what a trained encoder is, written by the encoder itself wherever it is saved.

A SentenceTransformer writes the card of its `model_card_data` in `save_pretrained` and `push_to_hub`. Here this is one
of ours, which says how the encoder was trained, on what, what it reaches and where its limits are; so nothing else
changes for who saves, loads or publishes it.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub.repocard_data import EvalResult, eval_results_to_model_index
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.model_card import SentenceTransformerModelCardData

import hybridlib
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.load import SOURCES
from hybridlib.data.sources.source import Source
from hybridlib.names import CODE_SWITCH, LOWER_IS_BETTER, SETTINGS, STATIC_ENCODERS
from hybridlib.study.report.results import COLUMNS, summarize
from hybridlib.study.run import Run

_PAPER = """@article{elmahdy-2024-synergistic,
    title = {Synergistic Approach for Simultaneous Optimization of Monolingual, Cross-lingual, and Multilingual
             Information Retrieval},
    author = {Elmahdy, Adel and Lin, Sheng-Chieh and Ahmad, Amin},
    year = {2024},
    journal = {arXiv preprint arXiv:2408.10536},
    url = {https://arxiv.org/abs/2408.10536},
}"""
_STRATEGIES = {
    "en-en": "Questions and passages of its batches are in English.",
    "x-x": "Question and passage of a pair are in one language, and the pairs of a batch in several.",
    "x-x-mono": "Every batch is monolingual: all of its questions and passages are in one language.",
    "x-y": "Every batch is cross-lingual: question and passage of each pair are in different languages.",
    "hybrid": (
        "Its batches are hybrid: with probability {alpha} a batch is monolingual (all questions and passages in one "
        "language), otherwise cross-lingual (question and passage of each pair in different languages)."
    ),
    "mix-passages": "Question and passage of each pair are in languages drawn independently.",
    "mix-entries": "The passages of a batch are in one language, and each question in one of its own.",
    "round-robin-entries": "The same questions meet their passages in one language after the other, batch by batch.",
    CODE_SWITCH: "Its texts are English with words switched to other languages.",
}
# What is made here; the licence of anything else is with its source.
_MADE_HERE = ("atlas", "atlas-names", "atlas-paraphrased", "atlas-partial")
_OWN, _BEFORE = "this one", "before"  # of the results table
_EXAMPLE_LENGTH = 200  # characters


@dataclass
class CardData(SentenceTransformerModelCardData):
    """Sentence-transformers' card data with our template, facts and results.

    Attributes:
        facts: what the template shows beside what sentence-transformers knows.
        eval_results: what the hub shows.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    eval_results: list[EvalResult] = field(default_factory=list)
    template_path: Path = field(default=Path(__file__).with_name("card.md"), init=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """All there is to know when the card is written; sentence-transformers takes the front matter from it."""
        values = super().to_dict()
        if self.eval_results:
            values["metrics"] = list(dict.fromkeys(result.metric_type for result in self.eval_results))
            values["model-index"] = eval_results_to_model_index(values["model_name"], self.eval_results)
        return values


def describe(
    encoder: SentenceTransformer,
    corpus: ParallelCorpus,
    trained: Mapping[str, Any],
    *,
    licence: str,
    results: pd.DataFrame | None = None,
    baseline: pd.DataFrame | None = None,
) -> SentenceTransformer:
    """Give a trained encoder its model card.

    It is written by `encoder.save_pretrained(path)` and `encoder.push_to_hub(name)`, and nothing is looked up on the
    hub for it. What the card says can be changed until then: `encoder.model_card_data.model_name = "My encoder"`.

    Args:
        encoder: changed in place.
        corpus: what it was trained on; its languages and counts are shown, and a few of its texts as examples.
        trained: how: `corpus` and `strategy` by name, `alpha` if that is `hybrid`, `task` if there are results, and any
            hyper-parameters; `encoder`, what it started from, becomes the base model if it is an id on the hub.
        licence: of the encoder, as the hub spells it (`apache-2.0`, `cc-by-sa-4.0`); those of what it started from and
            of the data have a say in it.
        results: of the encoder, as of `evaluate`.
        baseline: the same for what it started from, to be set beside them.

    Returns:
        The encoder.

    Raises:
        ValueError: `trained` lacks something, names no strategy, or the results are of more than one run.
    """
    _check(trained, results, baseline)
    before, task = encoder.model_card_data, trained.get("task", "")
    tables = {name: _means(table) for name, table in (("this one", results), ("before", baseline)) if table is not None}
    facts = {
        "version": hybridlib.__version__,
        "start": trained.get("encoder", ""),
        "strategy": _STRATEGIES[trained["strategy"]].format(**trained),
        "languages": {code: int(count) for code, count in corpus.sizes().items() if count},
        "prompts": _prompts(encoder),
        "hyperparameters": {name: _shown(value) for name, value in trained.items() if name not in ("corpus", "task")},
        **_data_facts(trained["corpus"], task),
        **_result_facts(tables, results),
    }
    data = CardData(
        language=list(facts["languages"]),
        license=licence,
        model_name=_title(trained),
        local_files_only=True,
        facts={**facts, "limits": _limits(encoder, trained, facts)},
        eval_results=_eval_results(tables.get(_OWN), task),
    )
    # Without the first, an encoder that was loaded with a card would be saved with that card.
    data.add_tags(["generated_from_trainer", "loss:InfoNCE", "multilingual", "information-retrieval", "hybridlib"])
    data.base_model, data.base_model_revision = before.base_model, before.base_model_revision
    if not data.base_model and _on_hub(facts["start"]):
        data.base_model, _, revision = facts["start"].partition("@")
        data.base_model_revision = revision or None
    data.usage_examples, data.ir_model = _examples(corpus), True
    encoder.model_card_data = data
    data.register_model(encoder)
    return encoder


def describe_run(
    encoder: SentenceTransformer,
    run: Run,
    *,
    licence: str,
    results: pd.DataFrame | None = None,
    baseline: pd.DataFrame | None = None,
) -> SentenceTransformer:
    """Give the encoder of a run, `run.train()`, its model card.

    Args:
        encoder, licence, baseline: see `describe`.
        run: what is said of the training.
        results: the run's own are `run.results()`.
    """
    left_out = {"languages", "task_languages", "measures", "training"}
    settings = {**asdict(run), **dict(run.training)}
    trained = {name: value for name, value in settings.items() if name not in left_out and value not in ((), None)}
    return describe(encoder, run.load_corpus(), trained, licence=licence, results=results, baseline=baseline)


def _check(trained: Mapping[str, Any], results: pd.DataFrame | None, baseline: pd.DataFrame | None) -> None:
    needed = {
        "corpus": True,
        "strategy": True,
        "alpha": trained.get("strategy") == "hybrid",
        "task": results is not None,
    }
    for name in needed:
        if needed[name] and name not in trained:
            raise ValueError(f"trained lacks {name!r}; it has {', '.join(trained)}")
    if trained["strategy"] not in _STRATEGIES:
        raise ValueError(f"strategy is {trained['strategy']!r}; allowed: {', '.join(_STRATEGIES)}")
    if baseline is not None and results is None:
        raise ValueError("baseline is given without results, which it would be set beside")
    if baseline is not None and results is not None:
        for name in ("setting", "measure"):
            if set(baseline[name].unique()) != set(results[name].unique()):
                raise ValueError(f"baseline has other values of {name!r} than results; evaluate both alike")
    for name, table in (("results", results), ("baseline", baseline)):
        further = [] if table is None else [column for column in table if column not in COLUMNS]
        if further:
            raise ValueError(f"{name} has the column {further[0]!r}; expected the results of one run, as of evaluate")


def _title(trained: Mapping[str, Any]) -> str:
    name = "code-switched" if trained["strategy"] == CODE_SWITCH else trained["strategy"]
    alpha = f" (alpha {trained['alpha']:g})" if name == "hybrid" else ""
    start = str(trained.get("encoder", "")).rstrip("/").split("/")[-1].partition("@")[0]
    return f"{start or 'Encoder'} trained on {trained['corpus']} with {name} batches{alpha}"


def _on_hub(name: str) -> bool:
    """Whether it reads as an id of the hub: `user/name`, at a revision or not, and is no folder here."""
    return name.count("/") == 1 and name[0].isalnum() and name not in STATIC_ENCODERS and not os.path.exists(name)


def _prompts(encoder: SentenceTransformer) -> tuple[str, str] | None:
    """What comes before a question and before a passage, if anything does."""
    prompts = (encoder.prompts.get("query") or "", encoder.prompts.get("document") or "")
    return prompts if any(prompts) else None


def _shown(value: Any) -> str:
    """A value in a cell of a table; pairs of a name and a number are spelled out."""
    if isinstance(value, tuple | list):
        return ", ".join(" ".join(map(str, part)) if isinstance(part, tuple | list) else str(part) for part in value)
    text = "uniform" if value == math.inf else f"{value:g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")


def _source(name: str) -> Source | None:
    name = name.partition("/")[0]
    return SOURCES.get(name)


def _data_facts(corpus: str, task: str) -> dict[str, Any]:
    data, test = _source(corpus), _source(task)
    made_here = "sentences made by hybridlib of facts of the Unicode CLDR" if corpus in _MADE_HERE else ""
    unknown = "Unicode License v3" if corpus in _MADE_HERE else "not known here"
    citations = [source.citation for source in (data, test) if source and source.citation]
    sentence_transformers = CardData(local_files_only=True)
    sentence_transformers.set_losses([])
    return {
        "corpus": corpus,
        "corpus_title": data.title if data else made_here,
        "corpus_homepage": data.homepage if data else "",
        "corpus_licence": (data.licence if data else unknown).rstrip("."),
        "task": task,
        "task_homepage": test.homepage if test else "",
        "citations": list(dict.fromkeys([_PAPER, *sentence_transformers.citations.values(), *citations])),
    }


def _means(results: pd.DataFrame) -> pd.DataFrame:
    """Settings by measures, in the order in which they are named everywhere."""
    means = summarize(results)
    means.index = means.index.astype(str)
    return means.reindex(index=[name for name in SETTINGS if name in means.index])


def _number(value: Any) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}" if abs(value) < 10 else f"{value:.1f}"


def _result_facts(tables: Mapping[str, pd.DataFrame], results: pd.DataFrame | None) -> dict[str, Any]:
    if results is None:
        return {"results": []}
    means = tables[_OWN]
    return {
        "results": [
            [setting, encoder, *(_number(table.at[setting, measure]) for measure in means.columns)]
            for setting in means.index
            for encoder, table in tables.items()
        ],
        "measures": list(means.columns),
        "lower": [measure for measure in means.columns if measure in LOWER_IS_BETTER],
        "questions": f"{results.question.nunique():,}",
        "queries": f"{results.query_id.nunique():,}",
        "evaluated": sorted(results.query_language.astype(str).unique()),
    }


def _eval_results(means: pd.DataFrame | None, task: str) -> list[EvalResult]:
    """What the hub reads: a result for each setting and measure that is defined."""
    if means is None:
        return []
    return [
        EvalResult(
            task_type="information-retrieval",
            task_name="Information Retrieval",
            dataset_type=task.replace("/", "-"),
            dataset_name=f"{task} ({setting})",
            dataset_config=setting,
            metric_type=measure,
            metric_value=round(value, 4),
        )
        for setting, values in zip(means.index, means.to_numpy().tolist(), strict=True)
        for measure, value in zip(means.columns, values, strict=True)
        if not math.isnan(value)
    ]


def _examples(corpus: ParallelCorpus) -> list[str]:
    """A question, its passage in another language if there is one, and two passages of others in that language."""
    head = corpus.table.select(range(min(len(corpus.table), 100 * len(corpus.languages)))).to_pandas()
    head = head[head.passage != ""]
    first = head[head["item"] == head["item"].iloc[0]]
    asked = first[first.language == "en"] if (first.language == "en").any() else first
    answer = first[first.language != asked.language.iloc[0]] if len(first) > 1 else first
    others = head[(head.language == answer.language.iloc[0]) & (head.passage_group != answer.passage_group.iloc[0])]
    texts = [asked["query"].iloc[0], answer.passage.iloc[0], *others.passage.head(2)]
    return [text[:_EXAMPLE_LENGTH] for text in texts]


def _limits(encoder: SentenceTransformer, trained: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    limits = []
    if trained["corpus"] in _MADE_HERE:
        limits.append(
            "Trained on generated sentences about a few kinds of facts. It shows a method; it is not for use."
        )
    limits.append(f"Trained in {', '.join(facts['languages'])} only; in other languages it may have become worse.")
    unseen = sorted(set(facts.get("evaluated", ())) - set(facts["languages"]))
    if unseen:
        limits.append(f"The results in {', '.join(unseen)} are zero-shot: there was no training data in them.")
    if facts["results"]:
        limits.append("The results are those of one training run; how far other seeds differ is not known here.")
        limits.append("They hold for texts like those of the task; means over languages hide how these differ.")
    length = encoder.max_seq_length
    if length and math.isfinite(length):
        limits.append(f"Texts are cut after {length} tokens.")
    return limits
