"""Tests of what `make reproduce` has found on the embedded corpus: the sentences, and the numbers as far as they carry.

Continuous integration runs it before the tests. Encoders are trained there, and rounding differs from one processor to
the next, so numbers are compared within bounds that leave room for that. Where a change of the code moves them, the new
`results/embedded/<notebook>.md` is copied below its heading in `embedded_findings.md`.
"""

import re
from pathlib import Path

import pytest

from hybridlib.paths import findings_path, params_path
from hybridlib.study.questions import QUESTIONS

EXPECTED = Path(__file__).parent / "embedded_findings.md"
HEAD = re.compile(r"\*\*This is a demonstration\.\*\* [^*]+:")
FIGURES = re.compile(r"([+−][\d.]+) (map|ndcg@10|rank distance) \[([+−][\d.]+), ([+−][\d.]+)\]")

# On an x86-64 processor held to its oldest kernels (ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41
# OPENBLAS_CORETYPE=Prescott), 147 of 151 runs give other ranks, and no number here differs by more than .0005, or .0002
# of a rank distance. Other processors and libraries are given twenty times as much, and more.
ROOM = {"map": 0.01, "rank distance": 0.05}


def findings(notebook):
    path = findings_path("embedded", notebook)
    if not path.is_file():
        pytest.skip(f"results/embedded has no {path.name}: `make reproduce` makes it")
    return path.read_text(encoding="utf-8")


def expected(notebook):
    """Return what the file beside says of a notebook, which stands below its name."""
    parts = re.split(r"^# (\w+)\n\n", EXPECTED.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[notebook].strip()


def numbers(line):
    """Return the difference and its interval, and the measure they are of; or nothing, for a line without figures."""
    found = FIGURES.search(line)
    if not found:
        return [], ""
    value, measure, *ends = found.groups()
    return [float(number.replace("−", "-")) for number in (value, *ends)], measure


def differing(said, known):
    """Return what differs between two findings: lines of other text, or with numbers that are too far apart."""
    if [FIGURES.sub("", line) for line in said] != [FIGURES.sub("", line) for line in known]:
        return sorted({FIGURES.sub("", line) for line in said} ^ {FIGURES.sub("", line) for line in known}) or ["order"]
    return [(one, other) for one, other in zip(said, known, strict=True) if not near(one, other)]


def near(said, known):
    """Return whether the figures of two lines are those of the same results, on two processors."""
    (values, measure), (others, of_known) = numbers(said), numbers(known)
    if measure != of_known:
        return False
    bound = ROOM["rank distance"] * abs(others[0]) if measure == "rank distance" else ROOM["map"]
    return all(abs(one - other) <= bound for one, other in zip(values, others, strict=True))


@pytest.mark.parametrize("notebook", QUESTIONS)
def test_the_embedded_corpus_gives_what_it_gave(notebook):
    assert not differing(findings(notebook).strip().splitlines(), expected(notebook).splitlines())


def test_findings_are_expected_of_every_question_and_of_nothing_else():
    assert re.findall(r"^# (\w+)$", EXPECTED.read_text(encoding="utf-8"), re.M) == [*QUESTIONS]


@pytest.mark.parametrize("notebook", QUESTIONS)
def test_findings_of_the_embedded_corpus_are_questions_with_figures_and_without_a_verdict(notebook):
    claims = {claim.text for claim in QUESTIONS[notebook].from_yaml(params_path("embedded", notebook)).claims}
    head, *lines = [line for line in findings(notebook).splitlines() if line and line != "All findings:"]
    assert HEAD.fullmatch(head) and lines
    for line in lines:
        asked, _, answered = line.removeprefix("- ").partition("? ")
        assert asked in claims and FIGURES.fullmatch(answered), line  # after the question there is nothing else


LINE = "- Is it so? −0.0963 map [−0.1135, −0.0790]"


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("- Is it so? −0.0913 map [−0.1044, −0.0700]", True),  # .0050, .0091 and .0090 away
        ("- Is it so? −0.0862 map [−0.1135, −0.0790]", False),  # .0101 away
        ("- Is it so? −0.0963 map [−0.1135, −0.0680]", False),  # .0110 away
        ("- Is it so? +0.0963 map [−0.1135, −0.0790]", False),
        ("- Is it so? −0.0963 ndcg@10 [−0.1135, −0.0790]", False),
        ("- Is it not? −0.0963 map [−0.1135, −0.0790]", False),
        ("- Is it so: **yes**, −0.0963 map [−0.1135, −0.0790]", False),
        ("- Is it so? −0.0963 map [−0.1135, −0.0790]. Paper: .1.", False),
    ],
)
def test_other_text_or_numbers_further_away_are_found(other, same):
    assert bool(differing([other], [LINE])) != same


def test_rank_distances_may_differ_by_a_twentieth():
    known = "- Is it so? −100.0 rank distance [−130.0, −70.0]"
    assert not differing(["- Is it so? −104.0 rank distance [−134.0, −74.0]"], [known])
    assert differing(["- Is it so? −106.0 rank distance [−130.0, −70.0]"], [known])


def test_lines_that_are_missing_or_in_another_order_are_found():
    further = "- Is it more? +0.1000 map [+0.0500, +0.1500]"
    assert differing([LINE], [LINE, further]) and differing([further, LINE], [LINE, further])
