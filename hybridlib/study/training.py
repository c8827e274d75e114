"""A single training, on public data or on one's own pairs, that belongs to no notebook.

What computes is imported when something is to be computed, so that settings can be read at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator, model_validator

from hybridlib.arguments import Count, Name, Text, told
from hybridlib.data.load import CORPORA
from hybridlib.encoder.finding import encoder_folder, findable, is_there
from hybridlib.files import read_text
from hybridlib.names import STATIC_ENCODERS
from hybridlib.sampler.strategies import STRATEGY_RECORDS
from hybridlib.study.inputs import encoder_digest
from hybridlib.training.settings import Training

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from hybridlib.data.corpus import ParallelCorpus

_NAMES = Annotated[tuple[Name, ...], Field(min_length=1, strict=False)]
_RATES = {True: Training.model_fields["learning_rate"].default, False: 5e-5}  # of static encoders, and of others


class SingleTraining(Training):
    """All that determines a training: how to draw batches, on what to train, and what to start from.

    Attributes:
        corpus: the name of a corpus, as `load_corpus` takes it, or files of pairs, as `read_parallel` does.
        encoder: as `load_encoder` takes it.
        languages: those to train on; all of the corpus unless given.
        validation: like `corpus`; its loss decides when to stop.
        learning_rate: 5e-5 unless given, which suits transformers, or 1e-2 if the encoder is known to be static.
        query_prompt, document_prompt: put before texts; the encoder's own if None, and none at all if empty.
        max_length: tokens of a text that are read; the encoder's own unless given.
    """

    corpus: _NAMES
    encoder: Name
    languages: _NAMES | None = None
    validation: _NAMES | None = None
    steps: Count = 200
    save_every: Count = 100
    validate_every: Count = 50
    query_prompt: Text | None = None
    document_prompt: Text | None = None
    max_length: Count | None = None

    @model_validator(mode="before")
    @classmethod
    def _rate(cls, values: Any) -> Any:
        return {"learning_rate": _RATES[_is_static(values.get("encoder"))], **values}

    @field_validator("encoder")
    @classmethod
    def _findable(cls, value: str) -> str:
        return str(findable(STATIC_ENCODERS[0] if value == "static" else value))

    @model_validator(mode="after")
    def _alpha_counts(self) -> SingleTraining:
        if "alpha" in self.model_fields_set and STRATEGY_RECORDS[self.strategy].monolingual is not None:
            raise ValueError(f"alpha has no effect on {self.strategy}; allowed: hybrid or hybrid-pairs with it")
        return self

    @model_validator(mode="after")
    def _validation_counts(self) -> SingleTraining:
        given = self.model_fields_set
        if self.validation is None:
            if idle := [name for name in ("validate_every", "patience") if name in given]:
                raise ValueError(f"{idle[0]} has no effect without validation; allowed: both, or neither")
        elif "save_every" in given:
            raise ValueError("save_every has no effect with validation; allowed: validate_every, as each one is saved")
        elif self.validate_every > self.steps:
            raise ValueError(
                f"validate_every is {self.validate_every}; allowed: at most {self.steps}, the number of steps"
            )
        return self

    def load_corpus(self) -> ParallelCorpus:
        """Load what to train on, and make sure that batches can be filled.

        Raises:
            ValueError: there is no such corpus or language, a file is not as it must be, or a batch cannot be filled.
            FileNotFoundError: there is no such file.
        """
        from hybridlib.sampler.batches import HybridBatchSampler

        corpus = _load("corpus", self.corpus, "train", self.languages)
        HybridBatchSampler(corpus.availability, self.batch_size, strategy=self.strategy, alpha=self.alpha)
        return corpus

    def load_validation(self) -> ParallelCorpus | None:
        """Load the data whose loss decides when to stop, if there are any; errors are those of `load_corpus`."""
        from hybridlib.sampler.batches import HybridBatchSampler

        if not self.validation:
            return None
        corpus = _load("validation", self.validation, "validation", None)
        try:
            HybridBatchSampler(corpus.availability, self.batch_size, strategy="x-x-mono")
        except ValueError as error:
            raise ValueError(f"validation: {error}") from None
        return corpus

    def record(self, corpus: ParallelCorpus, validation: ParallelCorpus | None) -> dict[str, Any]:
        """Return what the trained encoder depends on, in JSON's types: the settings, and digests of the content."""
        from hybridlib.training.checkpoints import corpus_digest

        digest = encoder_digest(self.encoder)
        settings = {name: getattr(self, name) for name in type(self).model_fields if name != "save_every"}
        record = {
            **settings,
            "language_temperature": str(self.language_temperature),  # infinity, which JSON has not
            **{
                name: repr(value)  # so that one that is empty is seen
                for name in ("query_prompt", "document_prompt")
                if (value := settings[name]) is not None
            },
            "encoder": f"sha256:{digest}" if digest else self.encoder,
            "corpus": corpus_name(corpus),
            "languages": ", ".join(corpus.languages),
            "items": len(corpus),
            "content": corpus_digest(corpus),
            "validation": None if validation is None else corpus_digest(validation),
        }
        return {name: value for name, value in record.items() if value is not None}

    def train(
        self, corpus: ParallelCorpus, validation: ParallelCorpus | None, *, checkpoints: Path, progress: bool
    ) -> SentenceTransformer:
        """Return the trained encoder; an interrupted training goes on from the folder of checkpoints."""
        from hybridlib.training.fine_tune import fine_tune
        from hybridlib.training.starts import load_encoder

        prompts = {"query": self.query_prompt, "document": self.document_prompt}
        encoder = load_encoder(
            self.encoder,
            corpus=corpus,
            prompts={name: prompt for name, prompt in prompts.items() if prompt is not None},
            max_length=self.max_length,
            seed=self.seed,
        )
        return fine_tune(encoder, corpus, self, validation=validation, checkpoints=checkpoints, progress=progress)


def corpus_name(corpus: ParallelCorpus) -> str:
    """Return the names of the datasets of a corpus."""
    return "+".join(segment.name for segment in corpus.availability.segments)


def _load(option: str, names: Sequence[str], split: str, languages: Sequence[str] | None) -> ParallelCorpus:
    """Load a corpus by its name, or read files of pairs."""
    from hybridlib.data.formats.parallel.read import read_parallel
    from hybridlib.data.load import load_corpus

    if len(names) == 1 and all(one in CORPORA for one in names[0].split("+")):
        return load_corpus(names[0], split, languages=languages)
    for one in names:
        if one in CORPORA and not is_there(one):
            raise ValueError(f"{option} is {told([*names])}; allowed: {told(one)} alone or joined by +, or files")
        if "." not in one and not is_there(one):
            allowed = f"{', '.join(CORPORA)}, several of these joined by +, or files, as pairs.jsonl"
            raise ValueError(f"{option} is {told(one)}; allowed: {allowed}")
    return read_parallel(list(names), languages=languages)


def _is_static(encoder: object) -> bool:
    """Return whether an encoder is known to be static before it is loaded: by its name, or by its folder."""
    if encoder in ("static", *STATIC_ENCODERS):
        return True
    folder = encoder_folder(encoder) if isinstance(encoder, str) else None
    modules = folder / "modules.json" if folder else None
    return bool(modules and modules.is_file() and "StaticEmbedding" in read_text(modules))
