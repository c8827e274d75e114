"""Findings: what the results say to a claim, computed, never typed.

A claim is that one strategy does better than another by some measure, or at least as well: within a twentieth. Both
have been trained from the same first weights with the same seeds and answered the same questions, so the verdict is one
of `hybridlib.study.report.comparison`: by question and seed, and corrected for how many claims are checked together.
The margin of a twentieth was set before the first run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hybridlib.names import LOWER_IS_BETTER
from hybridlib.paths import replacing
from hybridlib.study.report.comparison import compare
from hybridlib.study.report.paper import claim_figures, number
from hybridlib.study.report.results import summarize

# What is worse by less than a twentieth is as good.
MARGIN = 0.05
_VERDICTS = {
    "better": "holds",
    "non-inferior": "holds",
    "worse": "does not hold",
    "inferior": "does not hold",
    "not shown": "not shown",
}


@dataclass(frozen=True)
class Claim:
    """A claim about two strategies, or two values of another label.

    Attributes:
        text: the claim, in the present tense.
        setting, measure: what it is about.
        first, other: what is compared.
        strict: whether the first is claimed to be better, not just as good.
        relative: whether the difference is taken as a share of the other's mean; not of measures that may be 0.
        in_paper: whether the paper reports it, for XQuAD-R.
    """

    text: str
    setting: str
    measure: str
    first: str | float
    other: str | float
    strict: bool = True
    relative: bool = True
    in_paper: bool = False


BATCH_RATIO_CLAIMS = tuple(
    Claim(*claim, in_paper=True)
    for claim in (
        ("Monolingual batches make monolingual retrieval better than cross-lingual batches do",
         "monolingual", "map", "x-x-mono", "x-y", True),
        ("Cross-lingual batches make cross-lingual retrieval better than monolingual batches do",
         "cross-lingual", "map", "x-y", "x-x-mono", True),
        ("Hybrid batches are as good as monolingual ones for monolingual retrieval",
         "monolingual", "map", "hybrid", "x-x-mono", False),
        ("Hybrid batches are as good as cross-lingual ones for cross-lingual retrieval",
         "cross-lingual", "map", "hybrid", "x-y", False),
        ("Hybrid batches are as good as cross-lingual ones for multilingual retrieval",
         "multilingual", "map", "hybrid", "x-y", False),
        ("Hybrid batches are better than monolingual ones for multilingual retrieval",
         "multilingual", "map", "hybrid", "x-x-mono", True),
        ("Hybrid batches leave less language bias than monolingual ones",
         "multilingual", "rank_distance", "hybrid", "x-x-mono", True),
        ("Hybrid batches leave no more language bias than cross-lingual ones",
         "multilingual", "rank_distance", "hybrid", "x-y", False),
    )
)  # fmt: skip

IMBALANCE_CLAIMS = (
    Claim("Where data is most unequal, hybrid batches are better than monolingual ones for multilingual retrieval",
          "multilingual", "map", "hybrid", "x-x-mono"),
    Claim("Where data is most unequal, hybrid batches are as good as monolingual ones for monolingual retrieval",
          "monolingual", "map", "hybrid", "x-x-mono", strict=False),
    Claim("Where data is most unequal, hybrid batches leave less language bias than monolingual ones",
          "multilingual", "rank_distance", "hybrid", "x-x-mono"),
    Claim("Where data is most unequal, hybrid batches rank languages more fairly (PEER) than monolingual ones",
          "multilingual", "peer@100", "hybrid", "x-x-mono"),
    Claim("With hybrid batches, monolingual quality falls less from large languages to small ones than with "
          "monolingual batches", "monolingual", "slope", "hybrid", "x-x-mono", relative=False),
    Claim("With hybrid batches, monolingual quality falls less from large languages to small ones than with "
          "cross-lingual batches", "monolingual", "slope", "hybrid", "x-y", relative=False),
)  # fmt: skip

DOMAIN_CLAIMS = (
    Claim("Adding a domain's data makes cross-lingual retrieval better in that domain",
          "cross-lingual", "inside", "added", "not added"),
    Claim("Adding a domain's data makes monolingual retrieval better in that domain",
          "monolingual", "inside", "added", "not added"),
    Claim("Adding a domain's data costs cross-lingual retrieval nothing in the other domains",
          "cross-lingual", "outside", "added", "not added", strict=False),
    Claim("Adding a domain's data costs monolingual retrieval nothing in the other domains",
          "monolingual", "outside", "added", "not added", strict=False),
)  # fmt: skip

DOMAIN_COST_CLAIMS = (
    Claim("Hybrid batches soften the monolingual cost in the other domains, compared with monolingual ones",
          "monolingual", "cost", "hybrid", "x-x-mono", relative=False),
    Claim("Hybrid batches soften the cross-lingual cost in the other domains, compared with cross-lingual ones",
          "cross-lingual", "cost", "hybrid", "x-y", relative=False),
)  # fmt: skip

FAMILY_CLAIMS = (
    Claim("Hybrid batches are better than x-x for monolingual retrieval", "monolingual", "map", "hybrid", "x-x"),
    Claim("Hybrid batches are better than x-x for cross-lingual retrieval", "cross-lingual", "map", "hybrid", "x-x"),
    Claim("Hybrid batches are better than x-x for multilingual retrieval", "multilingual", "map", "hybrid", "x-x"),
    Claim("Hybrid batches leave less language bias than x-x", "multilingual", "rank_distance", "hybrid", "x-x"),
    Claim("Hybrid batches are better than mix-passages for multilingual retrieval",
          "multilingual", "map", "hybrid", "mix-passages"),
    Claim("Hybrid batches are better than mix-entries for multilingual retrieval",
          "multilingual", "map", "hybrid", "mix-entries"),
    Claim("Hybrid batches are better than round-robin-entries for multilingual retrieval",
          "multilingual", "map", "hybrid", "round-robin-entries"),
    Claim("Hybrid batches are better than code-switching for multilingual retrieval",
          "multilingual", "map", "hybrid", "code-switch"),
)  # fmt: skip


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
        questions: as of `read_questions`: `setting`, `measure`, `question`, `seed`, `value`, the label and the columns
            of `by`.
        claims: those to check together.
        rng: of the permutations and resamples.
        label: the column that the two sides of a claim are values of.
        by: columns of which every value is checked apart, as `encoder`.

    Returns:
        A row for every claim and group: `claim`, `paper` (its figures, if it reports the claim), the columns of `by`,
        the means of the two sides (`value`, `other`), the `difference`, which is a share of the other's mean where
        `relative` says so, with its interval (`lower`, `upper`), all three positive where the first is better, `p`
        corrected by Holm's method for the claims of its kind, and the `verdict` on the claim (`holds`, `does not
        hold` or `not shown`).

    Raises:
        ValueError: nothing in the results is about a claim.
    """
    sides = pd.concat([_sides(questions, number, claim, label, by) for number, claim in enumerate(claims)])
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


def _sides(questions: pd.DataFrame, number: int, claim: Claim, label: str, by: Sequence[str]) -> pd.DataFrame:
    """The values of the two sides of a claim: `raw`, and `value` scaled so that more is better."""
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
    """How much of what each end of the mix is good at a hybrid keeps.

    A row for every encoder: the share of the monolingual gain of alpha 1 over alpha 0 (`monolingual`), and of the
    cross-lingual gain of alpha 0 over alpha 1 (`cross-lingual`), in map. Their sum (`sum`) is 1 on the straight line
    between the two ends; more says that mixing is better than choosing.
    """
    maps = summarize(means)["map"].groupby(["encoder", "alpha", "setting"], observed=True).mean().unstack("setting")
    rows = {}
    for encoder in maps.index.unique("encoder"):
        table = maps.loc[encoder]
        at_0, at_1, mixed = table.loc[0.0], table.loc[1.0], table.loc[alpha]
        rows[encoder] = {
            "monolingual": (mixed["monolingual"] - at_0["monolingual"]) / (at_1["monolingual"] - at_0["monolingual"]),
            "cross-lingual": (mixed["cross-lingual"] - at_1["cross-lingual"])
            / (at_0["cross-lingual"] - at_1["cross-lingual"]),
        }
    shares = pd.DataFrame(rows).T.rename_axis("encoder")
    return shares.assign(sum=shares.sum(axis=1))


def tell(claims: pd.DataFrame, *, by: Sequence[str] = ()) -> list[str]:
    """The findings as sentences, one a claim: effect and interval first, then p, then the paper's figures if it has
    them."""
    sentences = []
    for (claim, paper), rows in claims.groupby(["claim", "paper"], sort=False):
        found = "; ".join(_told(row, by) for row in rows.to_dict("records"))
        sentences.append(f"{claim}. Found: {found}." + (f" Paper: {paper}." if paper else ""))
    return sentences


def tell_non_inferiority(tests: pd.DataFrame, *, margin: float, measure: str) -> list[str]:
    """What tests of non-inferiority by language say, in sentences: one for each that was held against another.

    Args:
        tests: as of `comparison.compare` by `query_language`, where `all` stands for all of them.
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
    """Keep the findings as a list in Markdown."""
    with replacing(path) as draft:
        draft.write_text("".join(f"- {sentence}\n" for sentence in sentences), encoding="utf-8")


def _told(row: dict, by: Sequence[str]) -> str:
    where = ", ".join(str(row[column]).partition("@")[0] for column in by)  # of an encoder, without its revision
    as_text = "{:+.1%}".format if row["relative"] else "{:+.3f}".format
    span = f"{as_text(row['difference'])} [{as_text(row['lower'])}, {as_text(row['upper'])}]"
    values = f"{number(row['value'])} against {number(row['other'])}"
    return f"{where + ': ' if where else ''}{row['verdict']} ({values}; {span}, p = {row['p']:.2g})"
