"""A watch over a training: at its start it says what is unlikely to be meant, and it refuses a step that goes wrong."""

import logging
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.losses.gradcache import has_static_embedding_input
from torch import Tensor
from transformers import PreTrainedTokenizerBase, TrainerCallback

from hybridlib.data.corpus import ParallelCorpus
from hybridlib.encoder.embed import on_its_way
from hybridlib.encoder.reading import cut_share, limit_of
from hybridlib.names import Role
from hybridlib.training.settings import Training

logger = logging.getLogger(__name__)

FROZEN = (
    "encoder has no weights to train: requires_grad is False for all on which its embeddings depend; allowed: True for "
    "at least one, as encoder.requires_grad_(True) makes it"
)

_CUT = 0.01  # the share of texts above which it is said that they are cut
_ROWS = 5000  # of a corpus, among which texts are drawn; items may be missing in many
# With a higher rate than this, fine-tuning has made every transformer worse. 1e-5 to 1e-4 is usual.
_RATE_OF_TRANSFORMERS = 1e-3
_NO_GRADIENT = 1e-10  # of less, Adam makes no step: it adds 1e-8 to what it divides by
_COLUMNS: tuple[tuple[str, str, Role], ...] = (("query", "queries", "query"), ("passage", "passages", "document"))


def warn_at_start(encoder: SentenceTransformer, corpus: ParallelCorpus, settings: Training) -> None:
    """Warn where many texts are cut, or the learning rate is not one for a transformer."""
    if settings.learning_rate > _RATE_OF_TRANSFORMERS and not has_static_embedding_input(encoder):
        logger.warning(
            "learning_rate is %g, which suits static encoders alone; with a transformer, 1e-5 to 1e-4 is usual",
            settings.learning_rate,
        )
    limits = {role: limit_of(encoder, role) for _, _, role in _COLUMNS}
    if min(limits.values()) == math.inf:
        return
    size = len(corpus.table)
    drawn = np.sort(np.random.default_rng(6).choice(size, min(size, _ROWS), replace=False))
    rows = corpus.table.select_columns([column for column, _, _ in _COLUMNS])[drawn.tolist()]
    for column, many, role in _COLUMNS:
        share = cut_share(encoder, [text for text in rows[column] if text], role=role)
        if share > _CUT:
            said = "%.1f %% of the %s are longer than max_length %d, and the rest of each is not read"
            logger.warning(said, 100 * share, many, limits[role])


def align_special_tokens(encoder: SentenceTransformer) -> None:
    """Write the tokenizer's numbers of special tokens into the model's configuration.

    The trainer does so itself at each training, with a warning that alarms and cannot be acted on.
    """
    tokenizer, config = getattr(encoder[0], "tokenizer", None), getattr(encoder, "config", None)
    if config is None or not isinstance(tokenizer, PreTrainedTokenizerBase):
        return
    config = config.get_text_config()
    for name in ("eos_token_id", "bos_token_id", "pad_token_id"):
        token, own = getattr(tokenizer, name), getattr(config, name, None)
        if token is not None and not (isinstance(own, list) and token in own):
            setattr(config, name, token)


class Watch(TrainerCallback):
    """A callback that refuses a training which diverges, before its weights are saved, validated or given back.

    A step is judged at its end where weights are saved or validated then, or training stops. Any other is judged when
    the next step has been launched, so that a GPU never stands still for it.

    Attributes:
        loss: the loss of the step, as the trainer has it.
        gradient: the norm of the gradient of the first step.
    """

    loss: Tensor
    gradient: Tensor

    def __init__(self, settings: Training) -> None:
        self.settings = settings
        self._judge: Callable[[], None] = _nothing  # judges the last step

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step == 0:
            gradients = [one.grad for one in given["model"].parameters() if one.grad is not None]
            if not gradients:
                raise ValueError(FROZEN)
            self.gradient = torch.nn.utils.get_total_norm(gradients)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        # What is not finite in a gradient is so in the weights that it has changed. A norm beyond float32 is of weights
        # whose embeddings have none, either. Finite gradients do not rule this out: a high learning rate or a high
        # weight decay can do it.
        size = torch.nn.utils.get_total_norm([one for one in given["model"].parameters() if one.requires_grad])
        first = [self.gradient] if state.global_step == 1 and args.process_index == 0 else []
        found = on_its_way(torch.stack([one.float() for one in (self.loss, size, *first)]))
        self.judge_last()
        self._judge = partial(self._judge_step, state.global_step, found)
        if control.should_save or control.should_training_stop:  # `fine_tune` saves whenever it validates
            self.judge_last()

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.judge_last()

    def judge_last(self) -> None:
        """Refuse the training if its last step diverged."""
        judge, self._judge = self._judge, _nothing
        judge()

    def _judge_step(self, step: int, found: Callable[[], Tensor]) -> None:
        loss, norm, *gradient = found().tolist()
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._refuse(step, f"the loss is {loss:.3g} and the norm of the weights {norm:.3g}")
        if gradient and gradient[0] < _NO_GRADIENT:
            logger.warning(
                "the first batch teaches nothing: its loss is %g and the norm of its gradient %g. No passage in it is "
                "a negative, as where all have one passage_group, or temperature (%g) is too low or too high",
                loss,
                gradient[0],
                self.settings.temperature,
            )

    def on_evaluate(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        loss = given["metrics"].get("eval_loss", 0.0)
        if not math.isfinite(loss):
            self._refuse(state.global_step, f"the loss of the validation is {loss:.3g}")

    def _refuse(self, step: int, found: str) -> None:
        names = ("learning_rate", "weight_decay", "temperature")
        told = ", ".join(f"{name} is {getattr(self.settings, name):g}" for name in names)
        raise ValueError(
            f"training diverges at step {step}: {found}. {told}; allowed: a lower learning_rate or "
            "weight_decay, or a higher temperature, with which all stay finite"
        )


def _nothing() -> None:
    """Judge nothing, as no step waits to be judged."""
