"""What a training run and its evaluation take, from counts that are known before any data is here.

Floating-point operations are those of the matrix products of the encoder: 2 a parameter and token forwards and 4
backwards (Kaplan et al., 2020, arXiv 2001.08361, section 2.1); embeddings of tokens are looked up, not multiplied, and
attention's own products are left out, which are 2 % at texts of 50 tokens.

Counts of texts are the published ones. A text is taken to have the mean length of its corpus: see `TEXTS`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from hybridlib.names import STATIC_ENCODERS
from hybridlib.study.run import Run

T = TypeVar("T")


@dataclass(frozen=True)
class Shape:
    """An encoder: its layers, their dimensions, and its parameters, in all and in the token embeddings."""

    layers: int
    dimensions: int
    parameters: int
    embedded: int

    @property
    def multiplied(self) -> int:
        """Parameters that every token is multiplied with."""
        return self.parameters - self.embedded


@dataclass(frozen=True)
class Texts:
    """Tokens and bytes of a question and of a passage, on average over languages."""

    query_tokens: int
    passage_tokens: int
    query_bytes: int
    passage_bytes: int


# Parameters: mteb 2.26.2, model_implementations/facebookai.py and sentence_transformers_models.py.
ENCODERS = {
    "FacebookAI/xlm-roberta-base": Shape(12, 768, 278_043_648, 192_001_536),
    "sentence-transformers/LaBSE": Shape(12, 768, 470_926_848, 384_885_504),
    "sentence-transformers/all-MiniLM-L6-v2": Shape(6, 384, 22_713_216, 11_720_448),
}
# SQuAD's, and sentences of Wikipedia: measured on XQuAD-R, whose 11 languages have 96 and 250 bytes and, by Tekken
# (mistral-common 1.13.1), 19 and 51 tokens; XLM-R's vocabulary is twice as large, and its texts somewhat shorter.
# mMARCO's: size of the files by the 8,841,823 passages and 808,731 questions in them, at the bytes a token that XQuAD-R
# has. MIRACL's passages are taken to be as long as mMARCO's.
_SENTENCES, _PASSAGES = Texts(19, 51, 96, 250), Texts(10, 97, 60, 480)
TEXTS = {"mmarco": _PASSAGES, "miracl": _PASSAGES}
# The prompt, and the tokens before and after a text.
_ADDED_TOKENS = 5
# Questions: SQuAD v1.1's training set; XQuAD-R's 1,190, of which three quarters are for training; MS MARCO's training
# judgements (ir_datasets 0.6.3, etc/metadata.json), of which one in a hundred is held out; SQuADShifts (Miller et al.).
ITEMS = {"squad-translate": 87_599, "xquad-r": 893, "mmarco": 527_433, "squadshifts": 37_691}
LANGUAGES = {
    "squad-translate": "ar de el en es hi ru th tr vi zh",
    "xquad-r": "ar de el en es hi ru th tr vi zh",
    "mmarco": "ar de en es fr hi id it ja nl pt ru vi zh",
    "squadshifts": "en",
}
_HELD_OUT = (5_328, 5_328)
# Questions and passages. XQuAD-R and MLQA-R: LAReQA's README; MIRACL: ir_datasets 0.6.3, etc/metadata.json.
TASKS: dict[str, dict[str, tuple[int, int]]] = {
    "xquad-r": dict(ar=(1190, 1222), de=(1190, 1276), el=(1190, 1234), en=(1190, 1180), es=(1190, 1215),
                    hi=(1190, 1244), ru=(1190, 1219), th=(1190, 852), tr=(1190, 1167), vi=(1190, 1209),
                    zh=(1190, 1196)),
    "mlqa-r": dict(ar=(517, 2545), de=(512, 2362), en=(1148, 6264), es=(500, 1787), hi=(507, 2426), vi=(511, 2828),
                   zh=(504, 2322)),
    "miracl": dict(ar=(2896, 2_061_414), bn=(411, 297_265), de=(305, 15_866_222), en=(799, 32_893_221),
                   es=(648, 10_373_953), fa=(632, 2_207_172), fi=(1271, 1_883_509), fr=(343, 14_636_953),
                   hi=(350, 506_264), id=(960, 1_446_315), ja=(860, 6_953_614), ko=(213, 1_486_752),
                   ru=(1252, 9_543_918), sw=(482, 131_924), te=(828, 518_079), th=(733, 542_166), yo=(119, 49_043),
                   zh=(393, 4_934_368)),
    "mmarco": dict.fromkeys(LANGUAGES["mmarco"].split(), _HELD_OUT),
}  # fmt: skip
# Judged passages a question of MIRACL, from the same place.
_JUDGED = 10


@dataclass(frozen=True)
class Work:
    """What runs take together.

    Attributes:
        steps: of training, at most, as it may stop early.
        training, validation, mining, evaluation: floating-point operations of the encoder.
        search: those of comparing embeddings on the CPU: of mining, and of counting ranks.
    """

    steps: int = 0
    training: float = 0.0
    validation: float = 0.0
    mining: float = 0.0
    evaluation: float = 0.0
    search: float = 0.0

    @property
    def encoder(self) -> float:
        """All that a GPU has to do."""
        return self.training + self.validation + self.mining + self.evaluation

    def __add__(self, other: "Work") -> "Work":
        return Work(*(mine + its for mine, its in zip(vars(self).values(), vars(other).values(), strict=True)))


def shape_of(run: Run) -> Shape | None:
    """Of the run's encoder; None if it is static.

    Raises:
        ValueError: it is not in `ENCODERS`.
    """
    name = run.encoder.partition("@")[0]
    if name in STATIC_ENCODERS:
        return None
    return _known(ENCODERS, name, "encoder")


def work(run: Run) -> Work:
    """What a run takes; of a run with a static encoder, its steps.

    Raises:
        ValueError: there are no counts for its encoder, corpus or task.
    """
    shape = shape_of(run)
    if shape is None:
        return Work(steps=run.steps)
    settings = dict(run.training)
    forwards = 2 * shape.multiplied
    negatives, items = settings.get("hard_negatives", False), items_by_language(run)
    training = 3 * forwards * run.steps * run.batch_size * _tokens(texts_of(run.corpus), 1, 1 + negatives)
    validation = mining = search = 0.0
    if name := settings.get("validation"):
        times = run.steps // settings.get("validate_every", 500)
        validation = forwards * times * ITEMS[name] * _tokens(texts_of(name), 1, 1)
    if negatives:
        mining = forwards * sum(items.values()) * _tokens(texts_of(run.corpus), 1, 1)
        search = 2 * shape.dimensions * sum(n**2 for n in items.values())
    evaluation = 0.0
    for task, queries, passages in searched(run):
        evaluation += forwards * _tokens(texts_of(task), queries, passages)
        search += 2 * shape.dimensions * queries * passages
    return Work(run.steps, training, validation, mining, evaluation, search)


def items_by_language(run: Run) -> dict[str, float]:
    """How many items a run trains on exist in each language; of several corpora, in those of the languages of each."""
    available = dict(run.available)
    languages = run.languages or sorted({code for name in run.corpus.split("+") for code in _languages(name)})
    # Of several corpora: `items` says how many there are, and all of them are taken to be in all languages.
    whole = sum(number for _, number in run.items) or sum(_items(name) for name in run.corpus.split("+"))
    return {code: math.ceil(whole * available.get(code, run.others)) for code in languages}


def searched(run: Run) -> list[tuple[str, int, int]]:
    """Task, questions and passages of every task that a run is evaluated on."""
    found = []
    for name in run.task.split("+"):
        name, _, language = name.partition("/")
        counts = _known(TASKS, name, "task")
        chosen = [code for code in ([language] if language else run.task_languages or counts) if code in counts]
        queries, passages = (sum(counts[code][place] for code in chosen) for place in (0, 1))
        if run.pool is not None:
            drawn = run.pool * len(chosen) if isinstance(run.pool, int) else 0
            passages = min(passages, _JUDGED * queries + drawn)
        quarter = 4 if run.task == run.corpus else 1  # its other articles are trained on
        found.append((name, queries // quarter, passages // quarter))
    return found


def texts_of(names: str) -> Texts:
    """The lengths of a corpus or task; of several joined by +, the mean."""
    lengths = [TEXTS.get(name.partition("/")[0], _SENTENCES) for name in names.split("+")]
    columns = zip(*(vars(one).values() for one in lengths), strict=True)
    return Texts(*(round(sum(column) / len(lengths)) for column in columns))


def _tokens(texts: Texts, queries: float, passages: float) -> float:
    return queries * (texts.query_tokens + _ADDED_TOKENS) + passages * (texts.passage_tokens + _ADDED_TOKENS)


def _items(corpus: str) -> int:
    return _known(ITEMS, corpus, "corpus")


def _languages(corpus: str) -> list[str]:
    return _known(LANGUAGES, corpus, "corpus").split()


def _known(table: Mapping[str, T], name: str, what: str) -> T:
    if name not in table:
        raise ValueError(f"{what} is {name!r}, of which no counts are known; allowed in a plan: {', '.join(table)}")
    return table[name]
