"""Findings: what the results say to the paper's claims, computed, never typed.

A claim of the paper is that one alpha does better than, or at least as well as, another by some measure. Both have been
trained from the same first weights with the same seed, so the difference is taken seed by seed. It counts if it is more
than a twentieth, with every seed; this says that it is no accident of training, not yet that it would hold for other
queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hybridlib.evaluation import summarize
from hybridlib.paths import replacing

# Differences of less than a twentieth are no differences.
MARGIN = 0.05


@dataclass(frozen=True)
class Claim:
    """A claim of the paper about two probabilities of a monolingual batch.

    Attributes:
        text: the claim, in the present tense.
        setting, measure: what it is about.
        alpha, other: the two that are compared; None stands for the hybrid, whose alpha is chosen by the reader.
        strict: whether the first is claimed to be better, not just as good.
        paper: the paper's own figures.
    """

    text: str
    setting: str
    measure: str
    alpha: float | None
    other: float | None
    strict: bool
    paper: str


# The figures are the means of tables 3, 5 and 7 of arXiv 2408.10536, for XQuAD-R.
BATCH_RATIO_CLAIMS = (
    Claim(
        "Monolingual batches make monolingual retrieval better than cross-lingual batches do",
        "monolingual",
        "map",
        1,
        0,
        True,
        "XLM-R 0.792 against 0.755, LaBSE 0.808 against 0.801",
    ),
    Claim(
        "Cross-lingual batches make cross-lingual retrieval better than monolingual batches do",
        "cross-lingual",
        "map",
        0,
        1,
        True,
        "XLM-R 0.700 against 0.674, LaBSE 0.762 against 0.752",
    ),
    Claim(
        "Hybrid batches are as good as monolingual ones for monolingual retrieval",
        "monolingual",
        "map",
        None,
        1,
        False,
        "XLM-R 0.798 against 0.792, LaBSE 0.817 against 0.808",
    ),
    Claim(
        "Hybrid batches are as good as cross-lingual ones for cross-lingual retrieval",
        "cross-lingual",
        "map",
        None,
        0,
        False,
        "XLM-R 0.705 against 0.700, LaBSE 0.767 against 0.762",
    ),
    Claim(
        "Hybrid batches are as good as cross-lingual ones for multilingual retrieval",
        "multilingual",
        "map",
        None,
        0,
        False,
        "XLM-R 0.593 against 0.593, LaBSE 0.682 against 0.679",
    ),
    Claim(
        "Hybrid batches are better than monolingual ones for multilingual retrieval",
        "multilingual",
        "map",
        None,
        1,
        True,
        "XLM-R 0.593 against 0.548, LaBSE 0.682 against 0.652",
    ),
    Claim(
        "Hybrid batches leave less language bias than monolingual ones",
        "multilingual",
        "rank_distance",
        None,
        1,
        True,
        "rank distance, XLM-R 287 against 410, LaBSE 221 against 262",
    ),
    Claim(
        "Hybrid batches leave no more language bias than cross-lingual ones",
        "multilingual",
        "rank_distance",
        None,
        0,
        False,
        "rank distance, XLM-R 287 against 295, LaBSE 221 against 225",
    ),
)


def check_claims(
    means: pd.DataFrame, *, alpha: float = 0.5, claims: Sequence[Claim] = BATCH_RATIO_CLAIMS
) -> pd.DataFrame:
    """Hold the paper's claims against results.

    Args:
        means: as of `read_means`, or full results; with the columns `encoder`, `alpha` and `seed`.
        alpha: which alpha is the hybrid; the nearest there is.
        claims: those to check.

    Returns:
        A row for every claim and encoder: `claim`, `paper`, `encoder`, the means of the two sides (`value`, `other`),
        the smallest and largest difference over seeds, as a share of the other side (`lowest`, `highest`; positive is
        better), and the `verdict` on the claim (`holds`, `does not hold`, or `unclear` where seeds disagree).
    """
    table = summarize(means)
    alphas = table.index.get_level_values("alpha").unique()
    hybrid = min(alphas, key=lambda value: (abs(value - alpha), value))
    rows = []
    for claim in claims:
        for encoder in table.index.get_level_values("encoder").unique():
            sides = [
                table.xs(
                    (encoder, hybrid if side is None else float(side), claim.setting),
                    level=("encoder", "alpha", "setting"),
                )[claim.measure]
                for side in (claim.alpha, claim.other)
            ]
            difference = compare(*(side.to_numpy() for side in sides), measure=claim.measure)
            rows.append(
                {
                    "claim": claim.text,
                    "paper": claim.paper,
                    "encoder": encoder,
                    "value": sides[0].mean(),
                    "other": sides[1].mean(),
                    "lowest": difference.min(),
                    "highest": difference.max(),
                    "verdict": judge(difference, strict=claim.strict),
                }
            )
    return pd.DataFrame(rows)


def compare(values: np.ndarray, others: np.ndarray, *, measure: str) -> np.ndarray:
    """By which share of the other side each seed is better (positive) or worse. (S,), (S,) -> (S,)

    >>> compare(np.array([0.6, 0.45]), np.array([0.5, 0.5]), measure="map").round(2).tolist()
    [0.2, -0.1]
    >>> compare(np.array([900.0]), np.array([1000.0]), measure="rank_distance").tolist()  # less of it is better
    [0.1]
    """
    difference = (values - others) / others
    return -difference if measure == "rank_distance" else difference


def judge(difference: np.ndarray, *, strict: bool) -> str:
    """The verdict on a claim: `holds` or `does not hold` if it is the same with every seed, `unclear` if it is not.

    Args:
        difference: as of `compare`. (S,)
        strict: whether the claim is to be better by more than the margin, or not worse by more than it.

    >>> judge(np.array([0.1, 0.2]), strict=True), judge(np.array([0.1, -0.2]), strict=True)
    ('holds', 'unclear')
    """
    met = difference > MARGIN if strict else difference >= -MARGIN
    return "holds" if met.all() else "unclear" if met.any() else "does not hold"


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
        hybrid = min(table.index, key=lambda value: (abs(value - alpha), value))
        at_0, at_1, mixed = table.loc[0.0], table.loc[1.0], table.loc[hybrid]
        rows[encoder] = {
            "monolingual": (mixed["monolingual"] - at_0["monolingual"]) / (at_1["monolingual"] - at_0["monolingual"]),
            "cross-lingual": (mixed["cross-lingual"] - at_1["cross-lingual"])
            / (at_0["cross-lingual"] - at_1["cross-lingual"]),
        }
    shares = pd.DataFrame(rows).T.rename_axis("encoder")
    return shares.assign(sum=shares.sum(axis=1))


def best_alphas(means: pd.DataFrame) -> pd.DataFrame:
    """For every encoder and setting, the alpha with the highest map, averaged over seeds: encoders by settings."""
    maps = summarize(means)["map"].groupby(["encoder", "setting", "alpha"], observed=True).mean()
    return maps.unstack("alpha").idxmax(axis=1).unstack("setting")


def tell(claims: pd.DataFrame) -> list[str]:
    """The findings as sentences, one a claim, with the paper's figures beside them."""
    sentences = []
    for (claim, paper), rows in claims.groupby(["claim", "paper"], sort=False):
        found = "; ".join(
            f"{row['encoder']}: {row['verdict']} ({_number(row['value'])} against {_number(row['other'])})"
            for row in rows.to_dict("records")
        )
        sentences.append(f"{claim}. Found: {found}. Paper: {paper}.")
    return sentences


def write_findings(path: Path, claims: pd.DataFrame) -> None:
    """Keep the findings as a list in Markdown."""
    with replacing(path) as draft:
        draft.write_text("".join(f"- {sentence}\n" for sentence in tell(claims)), encoding="utf-8")


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"
