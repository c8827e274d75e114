"""Findings: sentences that say whether the results bear out the claims of a notebook; computed, never typed.

The verdict on a difference is that of `hybridlib.study.report.effects`. p values of the primary claims of a notebook
are corrected together. A claim that something is not inferior counts only where the reference is better than the
untrained encoder: where training helps nothing, losing nothing is no merit.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hybridlib.arguments import checked
from hybridlib.data.checks import check_columns
from hybridlib.files import replacing
from hybridlib.names import E5_SMALL, LOWER_IS_BETTER
from hybridlib.paths import findings_path, results_path
from hybridlib.study.params import Params
from hybridlib.study.report.claims import Claim, holm
from hybridlib.study.report.effects import MARGINS, effects, verdicts
from hybridlib.study.report.paper import claim_figures
from hybridlib.study.report.results import write_sums
from hybridlib.study.report.words import between

# What is looked at without the seeds of training.
WITHOUT_SEEDS = ("untrained", "untrained, centred", "bm25")
_ERROR = 0.05
DEMONSTRATION = (
    "**This is a demonstration.** Static encoders and made sentences show that everything works, and say nothing about "
    "the paper."
)
UNTRAINED = "untrained"


@checked
def check_claims(claims: Sequence[Claim], tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Hold claims against results.

    Args:
        claims: those of a notebook. A claim about a table that is not there, or about a label that it lacks, has the
            verdict `not computed`.
        tables: as returned by the `read` of the notebook's parameters, by name.

    Returns:
        A row for every claim: `claim`, `kind` (a secondary claim is exploratory unless all primary ones hold), `on`,
        `setting`, `measure`, `difference` with its 95 % interval (`lower`, `upper`) and `p` (Holm's for primary claims;
        where a claim asks for `not inferior`, of the hypothesis that the margin is lost), the `verdict` on the
        difference, whether it `holds` (`yes`, `no`, `the contrary`, `not answered`, `not computed`), and the `paper`'s
        figures for the two sides.
    """
    if not claims:
        raise ValueError("claims are []; allowed: one or more")
    rows = [_row(claim, tables) for claim in claims]
    table = pd.DataFrame(rows)
    primary = (table.kind == "primary") & table.p.notna()
    if primary.any():
        table.loc[primary, "p"] = holm(table.p[primary].tolist())
    table["holds"] = [_holds(row, claim) for row, claim in zip(_records(table), claims, strict=True)]
    if not (table.holds[table.kind == "primary"] == "yes").all():
        table["kind"] = table.kind.replace("secondary", "exploratory")
    return table.drop(columns=["reference_helps", "not_inferior", "inferior"])


def _row(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "claim": claim.text,
        "kind": claim.kind,
        "on": claim.on,
        "setting": claim.setting,
        "measure": claim.measure,
    }
    task, *sides = claim.paper or ("",)
    paper = claim_figures(claim.setting, claim.measure, *sides, task=task) if claim.paper else ""
    nothing = dict.fromkeys(("difference", "lower", "upper", "p"), np.nan)
    said |= {"reference_helps": True, "not_inferior": False, "inferior": False, "verdict": "not computed"}
    said |= {"paper": paper} | nothing
    table = tables.get(claim.on, pd.DataFrame())
    chosen = table if table.empty else table[(table.setting == claim.setting) & (table.measure == claim.measure)]
    label = _label_of(claim)
    if chosen.empty or set(claim.contrast) - _known(chosen, label):
        return said
    found = _effect(chosen, dict(claim.contrast), label)
    p = found.p_margin if claim.asks == "not inferior" else found.p
    said |= {"difference": found.value, "lower": found.lower, "upper": found.upper, "p": p}
    turned = -1 if claim.measure in LOWER_IS_BETTER else 1
    lost = max(turned * found.lower, turned * found.upper) < -found.margin
    said |= {"verdict": found.verdict, "not_inferior": bool(found.not_inferior), "inferior": bool(lost)}
    reference = next(name for name, weight in claim.contrast.items() if weight < 0)
    untrained = UNTRAINED if isinstance(reference, str) else (UNTRAINED, *reference[1:])
    if claim.asks == "not inferior" and untrained in _known(chosen, label):
        helps = _effect(chosen, {reference: 1.0, untrained: -1.0}, label)
        said["reference_helps"] = helps.verdict == "better"
    return said


def _label_of(claim: Claim) -> str | list[str]:
    """Return the columns of the labels of a contrast: the strategy, and what data there was if there are two."""
    return ["strategy", "data"] if isinstance(next(iter(claim.contrast)), tuple) else "strategy"


def _known(table: pd.DataFrame, label: str | list[str]) -> set[Any]:
    if isinstance(label, str):
        return set(table[label].unique())
    return set(table[label].drop_duplicates().itertuples(index=False, name=None))


def _effect(table: pd.DataFrame, contrast: dict[Any, float], label: str | list[str]) -> Any:
    found = effects(table, {"": contrast}, label=label, without_seeds=seedless(contrast), margin=MARGINS)
    return verdicts(found).iloc[0]


def seedless(labels: Iterable[Any]) -> list[Any]:
    """Return those of some labels, strategies or tuples that begin with one, which no other seed would change."""
    return [label for label in labels if (label[0] if isinstance(label, tuple) else label) in WITHOUT_SEEDS]


def _holds(row: Mapping[str, Any], claim: Claim) -> str:
    """Say whether a claim holds, by the verdict on the difference and the corrected p.

    The contrary is shown as a claim is: of one that asks for `better`, by the same p; of one that asks for `not
    inferior`, where the whole interval is beyond the margin.
    """
    if row["verdict"] == "not computed":
        return "not computed"
    if not row["reference_helps"]:
        return "not answered"
    shown = row["verdict"] == "better" if claim.asks == "better" else row["not_inferior"]
    if shown and row["p"] < _ERROR:
        return "yes"
    worse = row["verdict"] == "worse" and row["p"] < _ERROR
    return "the contrary" if (worse if claim.asks == "better" else row["inferior"]) else "no"


class Prose(str):
    """A text in Markdown, which a notebook shows as such."""

    def _repr_markdown_(self) -> str:
        return str(self)


@checked
def answer(params: Params, checked: pd.DataFrame) -> Prose:
    """Write the answer at the head of a notebook, in Markdown; of the embedded corpus the figures without a verdict.

    Args:
        params: those of the notebook.
        checked: its claims, as returned by `check_claims`.
    """
    rows = paired(params.claims, checked)
    told = [(claim, row) for claim, row in rows if claim.kind == "primary" or claim.in_answer]
    told = [(claim, row) for claim, row in told if row["holds"] != "not computed"]
    if params.is_demonstration:
        head = f"{DEMONSTRATION} The same comparisons as on real text give these differences:"
        lines = [f"- {claim.text}? {difference_of(row)}" for claim, row in told]
    else:
        head = f"**{params.question} {word([row['holds'] for claim, row in rows if claim.kind == 'primary'])}.**"
        marks = ["(exploratory) " if row["kind"] == "exploratory" else "" for _, row in told]
        lines = [f"- {mark}{sentence(claim, row)}" for mark, (claim, row) in zip(marks, told, strict=True)]
    return Prose("\n".join([head, "", *lines]) + "\n")


def word(holds: Sequence[str]) -> str:
    """Answer in a word, by which of the primary claims hold."""
    if set(holds) == {"yes"}:
        return "Yes"
    if "yes" in holds:
        return "In part"
    if "the contrary" in holds:
        return "No"
    return "Not shown" if "no" in holds else "These runs cannot answer"


@checked
def deviations(params: Params) -> Prose | None:
    """Say in what the runs with the real encoder differ from the paper's; nothing for other encoders."""
    if params.encoder != E5_SMALL:
        return None
    return Prose(
        "*How this differs from the paper.* The encoder is multilingual-e5-small (118 million parameters, its matrices "
        "in 4 bits), not XLM-R base or LaBSE. In pre-training it has seen SQuAD, MIRACL and Mr. TyDi, so nothing here "
        "is zero-shot in the strict sense. It is trained on folds of XQuAD-R, not on translated data. See "
        "[the README](../README.md#deviations-from-the-paper)."
    )


def sentence(claim: Claim, row: Mapping[str, Any]) -> str:
    """Put a claim and what was found into a sentence, with the paper's figures where it has them."""
    paper = f" Paper: {row['paper']}." if row["paper"] else ""
    return f"{claim.text}: **{said(row)}**, {difference_of(row)}.{paper}"


def said(row: Mapping[str, Any]) -> str:
    """Say whether a claim that could be computed holds."""
    return {
        "yes": "yes, though worse by less than the margin" if row["verdict"] == "worse" else "yes",
        "no": "not shown, and worse" if row["verdict"] == "worse" else "not shown",
        "the contrary": "no, worse",
        "not answered": "cannot be answered, since the reference is not better than the untrained encoder",
    }[row["holds"]]


@checked
def tell(claims: Sequence[Claim], checked: pd.DataFrame, *, demonstration: bool = False) -> list[str]:
    """Put all claims that could be computed into sentences, primary ones first."""
    rows = paired(claims, checked)
    rows = [(claim, row) for claim, row in rows if row["holds"] != "not computed"]
    if demonstration:
        return [f"{claim.text}? {difference_of(row)}" for claim, row in rows]
    order = ("primary", "secondary", "exploratory")
    return [f"({kind}) {sentence(claim, row)}" for kind in order for claim, row in rows if row["kind"] == kind]


@checked
def write(params: Params, sums: Mapping[str, pd.DataFrame], checked: pd.DataFrame) -> None:
    """Write what a notebook has found into the folder of its profile: the sums, and the answer and the findings."""
    write_sums(results_path(params.profile, params.notebook), sums)
    told = tell(params.claims, checked, demonstration=params.is_demonstration)
    with replacing(findings_path(params.profile, params.notebook)) as draft:
        lines = "".join(f"- {sentence}\n" for sentence in told)
        draft.write_text(f"{answer(params, checked)}\nAll findings:\n\n{lines}", encoding="utf-8")


def paired(claims: Sequence[Claim], checked: pd.DataFrame) -> list[tuple[Claim, dict[str, Any]]]:
    """Return each claim with its row of what `check_claims` returned."""
    check_columns("checked (as returned by `check_claims`)", list(checked.columns), ["claim", "kind", "holds"])
    if checked.claim.tolist() != [claim.text for claim in claims]:
        raise ValueError(f"checked has {len(checked)} rows; allowed: one of each of {len(claims)} claims, in order")
    return list(zip(claims, _records(checked), strict=True))


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def difference_of(row: Mapping[str, Any]) -> str:
    """Write the difference of a claim in its measure, with its interval."""
    number, _, interval = between(row, "difference").partition(" ")
    return f"{number} {str(row['measure']).replace('_', ' ')} {interval}"
