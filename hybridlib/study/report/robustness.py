"""Robustness: how evenly quality is spread over languages, domains and amounts of data.

A mean hides who pays for it. These numbers show it; each is computed from a table that `read_means` or
`read_questions` returns.
"""

import numpy as np
import pandas as pd

from hybridlib.names import FAMILIES


def average_over(questions: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Average away some columns, so that every question of a run counts once.

    Args:
        questions: as returned by `read_questions`.
        columns: those to average away, such as `query_language`; the result does not have them.
    """
    kept = [column for column in questions.columns if column not in (*columns, "value")]
    return questions.groupby(kept, observed=True).value.mean().reset_index()


def gain(questions: pd.DataFrame, *, label: str, first: object, other: object) -> pd.DataFrame:
    """Subtract the value of every question with one label from that with another; the result lacks the label."""
    kept = [column for column in questions.columns if column not in (label, "value")]
    sides = questions[questions[label].isin([first, other])].pivot_table(
        index=kept, columns=label, values="value", observed=True
    )
    return (sides[first] - sides[other]).rename("value").reset_index()


def worst_language(means: pd.DataFrame, *, measure: str = "map") -> pd.DataFrame:
    """Find the query language with the lowest mean over its passage languages, for every setting and label.

    Args:
        means: as returned by `read_means`.

    Returns:
        The labels, `setting`, `language` and `value`.
    """
    of_measure = means[means.measure == measure]
    not_labels = ("query_language", "passage_language", "setting", "measure", "question", "value")
    keys = [*(column for column in means.columns if column not in not_labels), "setting"]
    by_language = of_measure.groupby([*keys, "query_language"], observed=True).value.mean().reset_index()
    worst = by_language.loc[by_language.groupby(keys, observed=True).value.idxmin()]
    return worst.rename(columns={"query_language": "language"}).reset_index(drop=True)


def stable_range(curve: pd.Series, *, margin: float = 0.05) -> tuple[float, float]:
    """Return the two ends of the stretch around a curve's best value that is nearly as good.

    Its length says how flat the optimum is.

    Args:
        curve: values, indexed by what was varied, in rising order.
        margin: share of the best value that may be lost.

    >>> stable_range(pd.Series([0.5, 0.78, 0.8, 0.79, 0.6], index=[0, 0.25, 0.5, 0.75, 1]))
    (0.25, 0.75)
    """
    fine = (curve >= curve.max() * (1 - margin)).to_numpy()
    first = last = int(np.argmax(curve.to_numpy()))
    while first > 0 and fine[first - 1]:
        first -= 1
    while last < len(fine) - 1 and fine[last + 1]:
        last += 1
    return tuple(curve.index[[first, last]].tolist())


def size_slopes(questions: pd.DataFrame, shares: pd.DataFrame) -> pd.DataFrame:
    """Fit the slope of quality against training size: what a language gains when its data doubles and others' shrinks.

    Languages differ in difficulty, so the quality of the same language, question, strategy and seed with balanced data
    (exponent 0) is subtracted. The slope is fitted by least squares against log2 of the size. It is linear in the
    values, so every question has a slope, and their mean is the slope of the means.

    Args:
        questions: as returned by `read_questions` by query language, with `exponent`, `sampling`, `strategy` and
            `seed`.
        shares: training size by `exponent`, `seed` and `language`, in any unit (column `share`).

    Returns:
        Like `questions`, without `query_language`, for exponents above 0; `measure` is `slope`.
    """
    same = ["sampling", "strategy", "seed", "setting", "question", "query_language"]
    balanced = questions[questions.exponent == 0][[*same, "value"]]
    unequal = questions[questions.exponent > 0].merge(balanced, on=same, suffixes=("", "_balanced"))
    x = np.log2(shares.set_index(["exponent", "seed", "language"]).share)
    x -= x.groupby(level=["exponent", "seed"]).transform("mean")
    weight = (x / (x**2).groupby(level=["exponent", "seed"]).transform("sum")).where(x.abs() > 0, 0.0)
    weight = weight.rename("weight").reset_index().rename(columns={"language": "query_language"})
    unequal = unequal.merge(weight, on=["exponent", "seed", "query_language"])
    unequal["value"] = (unequal.value - unequal.value_balanced) * unequal.weight
    keys = ["exponent", *(column for column in same if column != "query_language")]
    return unequal.groupby(keys, observed=True).value.sum().reset_index().assign(measure="slope")


def domain_effects(questions: pd.DataFrame, domains: pd.Series) -> pd.DataFrame:
    """Tell questions of the added domain from the others, to see what a domain's data does inside and outside of it.

    Args:
        questions: as returned by `read_questions`, with `added` (the domain) and `share`.
        domains: domain by question.

    Returns:
        Like `questions`, with the `domain` of every question; `measure` is `inside` where it is the added one, and
        `outside` elsewhere.
    """
    domain = questions.question.map(domains).astype(str)
    inside = domain == questions.added.astype(str)
    return questions.assign(domain=domain, measure=np.where(inside, "inside", "outside"))


def family_gains(
    means: pd.DataFrame, *, first: str, other: str, measure: str = "map", setting: str | None = None
) -> pd.DataFrame:
    """Average what one strategy gains over another from language family to language family.

    Args:
        means: as returned by `read_means`, with `strategy` and `seed`.
        first, other: the two strategies.
        measure: the measure of the results.
        setting: `monolingual` or `cross-lingual`; both unless given.

    Returns:
        The mean difference by family of the query language (rows) and of the passage language (columns). Every pair of
        languages counts alike. Families with the most languages in `FAMILIES` come first.
    """
    chosen = means[(means.measure == measure) & (means.setting != "multilingual")]
    if setting is not None:
        chosen = chosen[chosen.setting == setting]
    keys = ["query_language", "passage_language"]
    sides = chosen.groupby(["strategy", *keys], observed=True).value.mean()
    gain = (sides.loc[first] - sides.loc[other]).rename("gain").reset_index()
    for column in keys:
        gain[column] = gain[column].astype(str).map(FAMILIES)
    table = gain.groupby(keys).gain.mean().unstack("passage_language")
    languages = pd.Series(FAMILIES).value_counts(sort=False)
    order = languages.loc[table.index].sort_values(ascending=False, kind="stable").index
    return table.reindex(index=order, columns=order)
