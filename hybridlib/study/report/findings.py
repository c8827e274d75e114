"""Findings: sentences that say whether the results bear out a claim; they are computed, never typed.

A claim says that one strategy does better than another by some measure, or at least as well: within a twentieth. Both
were trained from the same first weights with the same seeds and answered the same questions. So the verdict is that of
`hybridlib.study.report.comparison`: by question and seed, and corrected for how many claims are checked together. The
margin of a twentieth was set before the first run.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hybridlib.names import LOWER_IS_BETTER
from hybridlib.paths import replacing
from hybridlib.study.report.claims import Claim
from hybridlib.study.report.comparison import compare
from hybridlib.study.report.paper import claim_figures, number
from hybridlib.study.report.results import summarize

# A strategy that is worse by less than this share is as good.
MARGIN = 0.05
_VERDICTS = {
    "better": "holds",
    "non-inferior": "holds",
    "worse": "does not hold",
    "inferior": "does not hold",
    "not shown": "not shown",
}


def check_claims(
    questions: pd.DataFrame,
    claims: Sequence[Claim],
    *,
    rng: np.random.Generator,
    label: str = "strategy",
    by: Sequence[str] = (),
) -> pd.DataFrame:
    """Hold claims against results.

    Args:
        questions: as returned by `read_questions`: `setting`, `measure`, `question`, `seed`, `value`, the label and the
            columns of `by`.
        claims: those to check together.
        rng: draws the permutations and resamples.
        label: the column that has the two sides of a claim as values.
        by: columns whose values are checked apart, such as `encoder`.

    Returns:
        A row for every claim and group: `claim`, `paper` (its figures, if it reports the claim), the columns of `by`,
        the means of the two sides (`value`, `other`), the `difference` with its interval (`lower`, `upper`), `relative`
        (whether these three are shares of the other's mean), `p`, corrected by Holm's method for the claims of its
        kind, and the `verdict`: `holds`, `does not hold` or `not shown`. A positive difference says that the first is
        better.

    Raises:
        ValueError: nothing in the results is about a claim.
    """
    sides = pd.concat([_values_of_claim(questions, number, claim, label, by) for number, claim in enumerate(claims)])
    tables = []
    for strict, margin in ((True, None), (False, MARGIN)):
        chosen = sides[sides.claim.isin([number for number, claim in enumerate(claims) if claim.strict == strict])]
        if len(chosen):
            keys = ["claim", *by]
            table = compare(chosen, [("first", "other")], by=keys, label="side", rng=rng, margin=margin)
            means = chosen.groupby([*keys, "side"], observed=True).raw.mean().unstack("side").reset_index()
            tables.append(table.merge(means.rename(columns={"first": "value", "other": "against"}), on=keys))
    table = pd.concat(tables).sort_values("claim", kind="stable", ignore_index=True)
    texts = [claims[number] for number in table.claim]
    paper = [claim_figures(c.setting, c.measure, c.first, c.other) if c.in_paper else "" for c in texts]
    columns = ["value", "other", "difference", "lower", "upper", "relative", "p", "verdict"]
    return table.assign(
        claim=[claim.text for claim in texts], paper=paper, relative=[claim.relative for claim in texts],
        other=table.against, p=table.p_holm, verdict=table.verdict.map(_VERDICTS),
    )[["claim", "paper", *by, *columns]]  # fmt: skip


def _values_of_claim(questions: pd.DataFrame, number: int, claim: Claim, label: str, by: Sequence[str]) -> pd.DataFrame:
    """Return the values of the two sides of a claim: `raw`, and `value` scaled so that more is better."""
    about = questions[(questions.setting == claim.setting) & (questions.measure == claim.measure)]
    about = about[about[label].isin([claim.first, claim.other])]
    if about[label].nunique() < 2:
        raise ValueError(
            f"nothing to check {claim.text!r} with: no {claim.measure} in the {claim.setting} setting for both "
            f"{label} {claim.first!r} and {claim.other!r}"
        )
    table = about[[*by, "seed", "question"]].assign(claim=number, raw=about.value)
    table["side"] = np.where(about[label] == claim.first, "first", "other")
    sign = -1 if claim.measure in LOWER_IS_BETTER else 1
    if not claim.relative:
        return table.assign(value=sign * table.raw)
    groups = [table[column] for column in ("claim", *by)]
    mean = table.raw.where(table.side == "other").groupby(groups, observed=True).transform("mean")
    return table.assign(value=sign * table.raw / mean)


def gains_kept(means: pd.DataFrame, *, alpha: float = 0.5) -> pd.DataFrame:
    """Compute how much a hybrid keeps of what each end of the mix is good at, in map.

    Returns:
        A row for every encoder: the share kept of the monolingual gain of alpha 1 over alpha 0 (`monolingual`), of the
        cross-lingual gain of alpha 0 over alpha 1 (`cross-lingual`), and their `sum`. It is 1 on the straight line
        between the two ends; more says that mixing is better than choosing.
    """
    maps = summarize(means)["map"].groupby(["encoder", "alpha", "setting"], observed=True).mean().unstack("setting")
    rows = {}
    for encoder in maps.index.unique("encoder"):
        table = maps.loc[encoder]
        ends = {"monolingual": (table.loc[0.0], table.loc[1.0]), "cross-lingual": (table.loc[1.0], table.loc[0.0])}
        rows[encoder] = {
            setting: (table.loc[alpha][setting] - low[setting]) / (high[setting] - low[setting])
            for setting, (low, high) in ends.items()
        }
    shares = pd.DataFrame(rows).T.rename_axis("encoder")
    return shares.assign(sum=shares.sum(axis=1))


def tell(claims: pd.DataFrame, *, by: Sequence[str] = ()) -> list[str]:
    """Put the findings into sentences, one a claim: effect, interval, p, and the paper's figures if it has them."""
    sentences = []
    for (claim, paper), rows in claims.groupby(["claim", "paper"], sort=False):
        found = "; ".join(_verdict_in_words(row, by) for row in rows.to_dict("records"))
        sentences.append(f"{claim}. Found: {found}." + (f" Paper: {paper}." if paper else ""))
    return sentences


def tell_non_inferiority(tests: pd.DataFrame, *, margin: float, measure: str) -> list[str]:
    """Put tests of non-inferiority by language into sentences, one for each pair that was compared.

    Args:
        tests: as returned by `comparison.compare` by `query_language`; `all` stands for all languages together.
        margin: the margin of the tests.
        measure: the measure of the values that were compared.
    """
    sentences = []
    for (first, other), rows in tests.groupby(["first", "other"], sort=False):
        languages = rows[rows.query_language != "all"]
        counts = languages.verdict.value_counts()
        found = ", ".join(f"{verdict} in {count}" for verdict, count in counts.items())
        overall = rows[rows.query_language == "all"].iloc[0]
        sentences.append(
            f"{str(first).capitalize()} against {other} ({measure}, margin {margin:g}): {found} of {len(languages)} "
            f"languages; over all of them {overall.verdict} ({overall.difference:+.3f} [{overall.lower:+.3f}, "
            f"{overall.upper:+.3f}], p = {overall.p_holm:.2g})."
        )
    return sentences


def write_findings(path: Path, sentences: Sequence[str]) -> None:
    """Write the findings as a list in Markdown."""
    with replacing(path) as draft:
        draft.write_text("".join(f"- {sentence}\n" for sentence in sentences), encoding="utf-8")


def _verdict_in_words(row: dict, by: Sequence[str]) -> str:
    where = ", ".join(str(row[column]).partition("@")[0] for column in by)  # an encoder stands without its revision
    as_text = "{:+.1%}".format if row["relative"] else "{:+.3f}".format
    span = f"{as_text(row['difference'])} [{as_text(row['lower'])}, {as_text(row['upper'])}]"
    values = f"{number(row['value'])} against {number(row['other'])}"
    return f"{where + ': ' if where else ''}{row['verdict']} ({values}; {span}, p = {row['p']:.2g})"
