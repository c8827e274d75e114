"""The picture of batches: what the sampler draws with each strategy, pair by pair, in the colours of the languages.

A pair is a square. Its left half has the colour of the question's language, its right half that of the passage's.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from hybridlib.arguments import Count, Names, Seed, Share, Whole, checked
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.names import STRATEGIES
from hybridlib.sampler.batches import HybridBatchSampler
from hybridlib.study.explorer.languages import COLOURS, colours_of, name_of
from hybridlib.study.report.results import check_table
from hybridlib.study.report.style import STYLE

# The strategies that the paper compares, from which the others of the library differ little at a glance.
SHOWN = ("x-x", "x-x-mono", "x-y", "hybrid")
_SAID = {
    "en-en": "English only",
    "x-x": "a pair is in one language, a batch in many",
    "x-x-mono": "a whole batch is in one language",
    "x-y": "question and passage are in different languages",
    "hybrid": "some batches are like x-x-mono, the others like x-y",
    "hybrid-pairs": "some pairs are in one language, the others in two",
    "mix-passages": "each question and each passage has a language of its own",
    "mix-entries": "the passages of a batch are in one language, its questions in many",
    "round-robin-entries": "as mix-entries, but questions come again until their passages have been in each language",
}
_COLUMNS = 5  # pairs side by side in a batch
_GAP = 0.24  # between pairs, of the width of one
_ROOM = 1.1  # between batches, in pairs


@checked
def draw_batches(
    corpus: ParallelCorpus,
    *,
    strategies: Names = SHOWN,
    alpha: Share = 0.5,
    first: Whole = 9,
    batches: Count = 8,
    pairs: Count = 25,
    seed: Seed = 0,
) -> pd.DataFrame:
    """Draw some batches of an epoch with each strategy, as `HybridBatchSampler` does in training.

    With seed 0, one of the first eight batches of `hybrid` is monolingual at an alpha of .5; of the eight that are
    drawn unless told otherwise it is four, so that they show what many batches are like.

    Args:
        corpus: what is drawn from.
        strategies: those to compare.
        alpha: probability of a monolingual batch with `hybrid`.
        first: number of the first batch to draw, from 0.
        batches: so many with each strategy.
        pairs: of a batch.
        seed: of the sampler.

    Returns:
        A row for every pair: `strategy`, the numbers of `batch` and `pair`, from 0, `query_language` and
        `passage_language`.

    Raises:
        ValueError: there is no such strategy, the corpus is too small for a batch, or an epoch has fewer batches.
    """
    codes = np.array(corpus.languages)
    parts = []
    for name in strategies:
        if name not in STRATEGIES:
            raise ValueError(f"strategies has {name!r}; allowed: {', '.join(STRATEGIES)}")
        sampler = HybridBatchSampler(corpus, pairs, seed=seed, strategy=name, alpha=alpha)
        if first + batches > len(sampler):
            raise ValueError(
                f"first is {first} and batches is {batches}; allowed: {len(sampler)} in all, as an epoch of {name} has"
            )
        for batch in range(first, first + batches):
            drawn = sampler.draw(batch)
            languages = {"query_language": codes[drawn[1]], "passage_language": codes[drawn[2]]}
            parts.append(pd.DataFrame({"strategy": name, "batch": batch, "pair": range(pairs), **languages}))
    return pd.concat(parts, ignore_index=True)


@checked
def count_languages(drawn: pd.DataFrame) -> pd.DataFrame:
    """Count what sets the batches of strategies apart.

    Args:
        drawn: as returned by `draw_batches`.

    Returns:
        For each strategy: `batches` and how many of them are `in one language`; `pairs` and how many of them are `in
        two languages`.
    """
    check_table(drawn, "drawn", "draw_batches", ["strategy", "query_language", "passage_language"], ["batch"])
    rows = {}
    for name, some in drawn.groupby("strategy", sort=False):
        alone = sum(len({*one.query_language, *one.passage_language}) == 1 for _, one in some.groupby("batch"))
        two = int((some.query_language != some.passage_language).sum())
        of_batches = {"batches": some.batch.nunique(), "in one language": alone}
        rows[name] = {**of_batches, "pairs": len(some), "in two languages": two}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("strategy")


def told(drawn: pd.DataFrame) -> str:
    """Say in a sentence for each strategy what its batches are like, for those who do not see the picture."""
    return " ".join(
        f"{name}: of {one.batches} batches, {one['in one language']} are in one language; of {one.pairs} pairs, "
        f"{one['in two languages']} are in two."
        for name, one in count_languages(drawn).iterrows()
    )


@checked
def picture(drawn: pd.DataFrame, *, alpha: Share = 0.5) -> Figure:
    """Draw batches: a row for each strategy, and in it the batches in their order, each a block of pairs.

    Args:
        drawn: as returned by `draw_batches`, of at most as many languages as there are colours.
        alpha: that of `hybrid`, for its title.

    Raises:
        ValueError: the table has no rows, lacks a column, or has too many languages.
    """
    check_table(drawn, "drawn", "draw_batches", ["strategy", "query_language", "passage_language"], ["batch", "pair"])
    codes = sorted({*drawn.query_language, *drawn.passage_language})
    if len(codes) > len(COLOURS):
        raise ValueError(f"drawn has {len(codes)} languages; allowed: at most {len(COLOURS)}, to be told apart")
    colours = colours_of(codes)
    strategies = [*dict.fromkeys(drawn.strategy)]
    wide, high = drawn.batch.nunique(), -(-(drawn.pair.max() + 1) // _COLUMNS)
    width = wide * (_COLUMNS + _ROOM) - _ROOM
    scale = 8.6 / width  # inches
    size = (9, 0.6 + len(strategies) * (high * scale + 0.46))
    with plt.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        figure, grid = plt.subplots(len(strategies), 1, figsize=size, squeeze=False)
        figure.subplots_adjust(0.022, 0.012, 0.978, 1 - 0.87 / size[1], hspace=0.46 / (high * scale))
        for axes, name in zip(grid[:, 0], strategies, strict=True):
            some = drawn[drawn.strategy == name]
            _draw_blocks(axes, some, colours)
            axes.set(xlim=(0, width), ylim=(high, 0), aspect="equal")
            axes.axis("off")
            title = f"hybrid, α = {alpha:g}" if name == "hybrid" else name
            _write_title(axes, title, _SAID[name])
        grid[0, 0].annotate(
            f"a block is a batch of {drawn.pair.max() + 1} pairs", (1, 1), xycoords="axes fraction", xytext=(0, 6),
            textcoords="offset points", ha="right", fontsize=9, color="0.25",
        )  # fmt: skip
        _add_key(figure, colours, size)
    return figure


def _draw_blocks(axes: Axes, some: pd.DataFrame, colours: dict[str, str]) -> None:
    """Draw the batches of a strategy side by side."""
    left = pd.factorize(some.batch)[0] * (_COLUMNS + _ROOM) + some.pair.to_numpy() % _COLUMNS + _GAP / 2
    top = some.pair.to_numpy() // _COLUMNS + _GAP / 2
    half, side = (1 - _GAP) / 2, 1 - _GAP
    x = np.concatenate([left, left + half])
    y, codes = np.concatenate([top, top]), pd.concat([some.query_language, some.passage_language]).to_numpy()
    corners = np.stack(
        [np.stack([x, x + half, x + half, x], 1), np.stack([y, y, y + side, y + side], 1)], 2
    )  # (n, 4, 2)
    for code, colour in colours.items():
        if len(chosen := corners[codes == code]):
            axes.add_patch(PathPatch(Path.make_compound_path_from_polys(chosen), facecolor=colour, linewidth=0))


def _write_title(axes: Axes, name: str, said: str) -> None:
    title = axes.annotate(
        name, (0, 1), xycoords="axes fraction", xytext=(0, 6), textcoords="offset points", weight="bold", fontsize=11,
    )  # fmt: skip
    axes.annotate(
        said, (1, 0), xycoords=title, xytext=(8, 0), textcoords="offset points", fontsize=10, color="0.25", va="bottom",
    )  # fmt: skip


def _add_key(figure: Figure, colours: dict[str, str], size: tuple[float, float]) -> None:
    """Explain at the head what a pair looks like, and which language has which colour."""
    key = figure.add_axes((0.022, 1 - 0.5 / size[1], 0.956, 0.4 / size[1]))
    key.set(xlim=(0, 8.604), ylim=(0, 0.4))
    key.axis("off")
    one, other = [*colours.values()][:2] if len(colours) > 1 else [*colours.values()] * 2
    key.text(0, 0.2, "a pair: question", va="center", fontsize=9)
    for place, colour in ((1.05, one), (1.19, other)):
        key.add_patch(Rectangle((place, 0.06), 0.14, 0.28, color=colour, linewidth=0))
    key.text(1.39, 0.2, "passage", va="center", fontsize=9)
    names = [name_of(code) for code in colours]
    widths = np.array([0.3 + 0.072 * len(name) for name in names])
    room = max(0.0, (8.6 - 2.2 - widths.sum()) / len(names))
    places = 2.2 + np.cumsum(widths + room) - widths
    for name, colour, place in zip(names, colours.values(), places, strict=True):
        key.add_patch(Rectangle((place, 0.11), 0.18, 0.18, color=colour, linewidth=0))
        key.text(place + 0.23, 0.2, name, va="center", fontsize=9)
