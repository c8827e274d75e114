"""The one list of all data to train on and to evaluate, and the functions that load it by name.

Every name has a reader, which reads the embedded corpus (`hybridlib.data.atlas`) or public data
(`hybridlib.data.sources`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from hybridlib.arguments import Count, Name, Names, Seed, Share, Whole, checked, told
from hybridlib.data.atlas import read as atlas
from hybridlib.data.atlas.facts import atlas_facts
from hybridlib.data.checks import check_languages
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.data.folds import read_folds
from hybridlib.data.formats.joining import join_tasks
from hybridlib.data.sources import belebele, lareqa, miracl, mmarco, squad, tatoeba, xquad
from hybridlib.data.task import RetrievalTask
from hybridlib.names import LANGUAGES


class Reader(NamedTuple):
    """A function that reads a corpus or a task by its name, and the options that it takes by keyword."""

    read: Callable[..., Any]
    takes: tuple[str, ...]

    def __call__(self, name: str, **options: Any) -> Any:
        return self.read(name, **{option: options[option] for option in self.takes})


# `hybridlib data info` lists this public data.
SOURCES = {
    source.name: source
    for source in (
        lareqa.XQUAD_R,
        lareqa.MLQA_R,
        miracl.SOURCE,
        tatoeba.SOURCE,
        xquad.SOURCE,
        belebele.SOURCE,
        squad.SQUAD_TRANSLATE,
        mmarco.SOURCE,
        squad.SQUADSHIFTS,
    )
}
CORPORA = {
    "atlas": Reader(atlas.read_corpus, ("split", "languages", "seed")),
    "atlas-names": Reader(atlas.read_corpus, ("split", "languages", "seed")),
    "xquad-r": Reader(lareqa.read_corpus, ("split", "fold", "languages")),
    "squad-translate": Reader(squad.read_squad_translate, ("split", "languages")),
    "mmarco": Reader(mmarco.read_corpus, ("split", "languages")),
    "squadshifts": Reader(squad.read_squadshifts, ("split", "languages")),
}
TASKS = {
    "atlas": Reader(atlas.read_task, ("split", "seed")),
    "atlas-paraphrased": Reader(atlas.read_task, ("split", "seed")),
    "atlas-partial": Reader(atlas.read_task, ("split", "seed")),
    "xquad-r": Reader(lareqa.read_task, ("fold", "paragraphs")),
    "mlqa-r": Reader(lareqa.read_task, ("paragraphs",)),
    "miracl": Reader(miracl.read_task, ("languages",)),
    "tatoeba": Reader(tatoeba.read_task, ("languages",)),
    "xquad": Reader(xquad.read_task, ("languages",)),
    "belebele": Reader(belebele.read_task, ("languages",)),
    "mmarco": Reader(mmarco.read_task, ("languages",)),
}
# The name of these tasks may be followed by one language, as in `miracl/sw`.
BY_LANGUAGE = ("miracl", "tatoeba")
# The domains of the questions where these tasks are joined.
TASK_DOMAINS = {"xquad-r": "wikipedia", "mmarco": "web"}


@checked
def load_corpus(
    name: Name,
    split: Name = "train",
    *,
    fold: int | None = None,
    languages: Names | None = None,
    items: Mapping[str, Whole] | None = None,
    available: Mapping[str, Share] | None = None,
    others: Share = 1.0,
    seed: Seed = 0,
) -> ParallelCorpus:
    """Load a training corpus.

    Args:
        name: `atlas` (embedded), `atlas-names` (its names alone, as translation pairs), `xquad-r`, `squad-translate`,
            `mmarco`, `squadshifts`, or several joined by `+`, such as `squad-translate+mmarco`. Joined corpora come one
            after the other; their items are missing in the languages that only another corpus has.
        split: `train`, or another split of the corpus. `atlas` has `validation` and `test`, and `mmarco` and
            `squadshifts` (which is all in it) have `validation`.
        fold: the fold of articles that `xquad-r` leaves out, 0 to 3, so that `load_task` can ask about them; see
            `hybridlib.data.folds`. Others have no folds.
        languages: the languages to take, in this order; all of them unless given.
        items: how many items of each domain to take (see `ParallelCorpus.compose`); all of them unless it names one.
        available: the share of the items that stays available in a language (see `ParallelCorpus.thin`).
        others: the share of the languages that `available` does not name.
        seed: chooses the split, the sentence frames and the items that stay.

    Raises:
        ValueError: an argument names something that does not exist; the message lists what exists.
        FileNotFoundError: a data file is missing.

    >>> corpus = load_corpus("atlas", languages=["en", "sw"], available={"sw": 0.1})
    >>> corpus.sizes().to_dict() == {"en": len(corpus), "sw": -(-len(corpus) // 10)}
    True
    """
    names = name.split("+")
    for one in names:
        if one not in CORPORA or names.count(one) > 1:
            raise ValueError(
                f"corpus is {told(name)}; allowed: {', '.join(CORPORA)}, or several different ones joined by +"
            )
    if fold is not None and not any("fold" in CORPORA[one].takes for one in names):
        raise ValueError(f"fold is {fold!r}; {name} has none: allowed is None")
    options = {"split": split, "fold": fold, "seed": seed}
    if len(names) == 1:
        corpus = CORPORA[name](name, languages=languages, **options)
    else:
        corpus = _several_corpora(names, languages, **options)
    corpus = corpus.compose(items, seed) if items else corpus
    return corpus.thin(available or {}, seed, others=others) if available or others != 1 else corpus


@checked
def load_task(
    name: Name,
    split: str | None = None,
    *,
    fold: int | None = None,
    languages: Names | None = None,
    paragraphs: bool = False,
    pool: Literal["judged"] | Count | None = None,
    seed: Seed = 0,
) -> RetrievalTask:
    """Load an evaluation task.

    Args:
        name: one of `TASKS`, `miracl/<language>`, `tatoeba/<language>`, or several joined by `+`, which
            then have one pool. `atlas`, `atlas-paraphrased` and `atlas-partial` are embedded. In `atlas-paraphrased`
            one to three passages tell every fact in each language; so several are relevant to a query, as in MIRACL.
            In `atlas-partial` every fact exists in English and one to three other languages only, as in MLQA-R.
        split: `validation`, `test` (the default) or `train` of the embedded tasks; the pool holds the passages of all
            facts.
        fold: the fold of articles of `xquad-r` to take, 0 to 3: those that `load_corpus` leaves out. Without one,
            `xquad-r` is the benchmark as published, with all articles: those that a run was trained on are among them.
        languages: the languages to take; all of them unless given.
        paragraphs: whether a passage of `xquad-r` and `mlqa-r` is the sentence followed by its paragraph.
        pool: `judged`, or how many distractors to take of each language (see `RetrievalTask.with_pool`); all passages
            unless given.
        seed: chooses the split, as in `load_corpus`, and draws the distractors.

    Raises:
        ValueError: an argument names something that does not exist; the message lists what exists.
        FileNotFoundError: a data file is missing.

    >>> load_task("atlas", languages=["th", "en"]).languages
    ['en', 'th']
    """
    options = {"split": split, "fold": fold, "paragraphs": paragraphs, "seed": seed}
    names = name.split("+")
    if len(set(names)) < len(names):
        raise ValueError(f"task is {name!r}; allowed is each task once")
    parts = {one: _one_task(one, languages, **options) for one in names}
    task = parts[name] if len(parts) == 1 else join_tasks(parts, parallel=False)
    return task.with_pool(pool, seed) if pool is not None else task


def _one_task(name: str, languages: Sequence[str] | None, **options: Any) -> RetrievalTask:
    """Load a single task, and refuse the options that it does not take."""
    family, slash, language = name.partition("/")
    if family not in TASKS or (slash and family not in BY_LANGUAGE):
        single = ", ".join(f"{one}/<language>" for one in BY_LANGUAGE)
        raise ValueError(f"task is {name!r}; allowed: {', '.join(TASKS)}, {single}, and several joined by +")
    reader = TASKS[family]
    if options["paragraphs"] and "paragraphs" not in reader.takes:
        raise ValueError(f"paragraphs is True; allowed for xquad-r and mlqa-r, not for {name}")
    for option in ("split", "fold"):
        if options[option] is not None and option not in reader.takes:
            raise ValueError(f"{option} is {options[option]!r}; {name} has none: allowed is None")
    if slash and languages is not None:
        raise ValueError(f"languages is {languages}; task {name!r} names its language already")
    task = reader(family, languages=[language] if slash else languages, **options)
    return task if languages is None or "languages" in reader.takes else task.restrict(languages)


def _several_corpora(names: Sequence[str], languages: Sequence[str] | None, **options: Any) -> ParallelCorpus:
    """Read several corpora, each in those of the languages that it has, and join them."""
    known = {name: SOURCES[name].languages if name in SOURCES else LANGUAGES for name in names}
    every = list(dict.fromkeys(code for name in names for code in known[name]))
    chosen = check_languages(languages, every, "+".join(names))
    own = {name: [code for code in chosen if code in known[name]] for name in names}
    read = [CORPORA[name](name, languages=own[name], **options) for name in names if own[name]]
    return ParallelCorpus.joined(read, chosen)


@checked
def revision(name: Name) -> str:
    """Name the version of the data of a corpus or a task: runs on the same data may be compared, others not.

    Args:
        name: as `load_corpus` and `load_task` take it.

    Returns:
        The pinned commit or version of the source, or a digest of the files of the embedded corpus. Those of several
        corpora or tasks are joined by +.

    Raises:
        ValueError: there is no such corpus or task.

    >>> revision("xquad-r+squadshifts")
    '9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c+v1.0'
    """
    families = [one.partition("/")[0] for one in name.split("+")]
    known = [*CORPORA, *(task for task in TASKS if task not in CORPORA)]
    unknown = [family for family in families if family not in known]
    if unknown:
        raise ValueError(f"data is {told(name)}; allowed: {', '.join(known)}, and several joined by +")
    return "+".join(SOURCES[one].revision if one in SOURCES else atlas.revision() for one in families)


@checked
def question_domains(name: Name, *, seed: Seed = 0) -> pd.Series:
    """Return the domain of every test question of a task, by question; of `xquad-r` the topic, of all its questions.

    Raises:
        ValueError: the task has no domains.
    """
    if name in TASKS and name.startswith("atlas"):
        facts = atlas_facts(seed)
        return facts[facts.split == "test"].set_index("fact").domain
    if name == "xquad-r":
        articles = lareqa.read_xquad_r().queries.drop_duplicates("question").set_index("question").article
        return articles.map(read_folds().domain).rename("domain")
    if "+" not in name or set(name.split("+")) - set(TASK_DOMAINS):
        allowed = f"{', '.join(list(TASKS)[:4])}, and several joined by + of {', '.join(TASK_DOMAINS)}"
        raise ValueError(f"task is {told(name)}; allowed, as they have domains: {allowed}")
    questions = load_task(name).queries.question.drop_duplicates()
    return questions.str.partition(":")[0].map(TASK_DOMAINS).set_axis(questions).sort_index().rename("domain")
