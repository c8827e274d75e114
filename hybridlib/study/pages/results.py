"""The results of a profile on one page of Markdown, for those who read no notebooks: made from what these wrote."""

from pathlib import Path

import pandas as pd

from hybridlib.data.checks import check_columns
from hybridlib.files import read_text, replacing
from hybridlib.paths import figures_of, findings_path, project_root, results_path
from hybridlib.study.report.contrasts import means_of
from hybridlib.study.report.effects import effects
from hybridlib.study.report.findings import WITHOUT_SEEDS

_MARKS = ("<!-- results: made by `hybridlib results`, and compared by a test -->", "<!-- end of results -->")
_PRIMARY = "- (primary) "
TITLES = {
    "batch_ratio": "Batch ratio",
    "language_imbalance": "Language imbalance",
    "domain_data": "Domain data",
    "miracl_high_resource": "High-resource languages",
    "mlqa_language_families": "Language families on MLQA",
}
_HEADINGS = {
    ("monolingual", "map"): "mono map",
    ("cross-lingual", "map"): "cross map",
    ("multilingual", "map"): "multi map",
    ("multilingual", "rank_distance"): "rank distance",
}
_IN_TATOEBA = {("cross-lingual", "recall@1"): "recall@1"}
# The rows of the short table; the notebook has all of them.
SHORT = (
    "untrained",
    "untrained, centred",
    "x-x",
    "x-x-mono",
    "x-x-mono, centred",
    "hybrid",
    "x-y",
    "mix-passages",
    "bm25",
)


def write_pages(profile: str) -> list[Path]:
    """Write `docs/results.md`, and the table of the README between its two marks; return what was written.

    Raises:
        FileNotFoundError: a notebook of the profile has not been run, or there is no README.
        ValueError: the README has no marks.
    """
    page, readme = project_root() / "docs" / "results.md", project_root() / "README.md"
    before, first, rest = read_text(readme).partition(_MARKS[0])
    _, last, after = rest.partition(_MARKS[1])
    if not last or any(mark in part for mark in _MARKS for part in (before, after)):
        raise ValueError(f"{readme} lacks the marks {' and '.join(_MARKS)}, once each, between which the results stand")
    made = {
        page: results_page(profile),
        readme: f"{before}{first}\n{readme_part(profile)}\n{last}{after}",
    }
    for path, content in made.items():
        with replacing(path) as draft:
            draft.write_text(content, encoding="utf-8")
    return list(made)


def results_page(profile: str) -> str:
    """Return a page for the folder `docs/`: the table of strategies, then of every notebook the answer and findings.

    Args:
        profile: the folder of `results/` that the notebooks of a profile have written.

    Raises:
        FileNotFoundError: a notebook has not been run.
    """
    lines = [
        f"# Results of profile `{profile}`",
        "",
        f"Made by `make notebooks` from the runs in `evidence/{profile}`; nothing here is typed. Differences have 95 %",
        "intervals over articles and seeds. The [README](../README.md) says what each name means, and the",
        "[notebooks](../notebooks) how each figure is made.",
        "",
        overview_in_markdown(profile),
    ]
    for notebook, title in TITLES.items():
        written = _findings(profile, notebook)
        lines += ["", f"## {title}", "", f"[The notebook](../notebooks/{notebook}.ipynb) has the details.", "", written]
        for figure in figures_of(profile, notebook):
            name = figure.stem.partition("-")[2].replace("_", " ")
            lines += ["", f"![{title}: {name}](../figures/{profile}/{figure.name})"]
    return "\n".join(lines) + "\n"


def readme_part(profile: str) -> str:
    """Return what stands in the README: the table of strategies, and the answer to every question in a line."""
    answers = []
    for notebook in TITLES:
        answer, *lines = _findings(profile, notebook).split("\n")
        primary = [line.removeprefix(_PRIMARY).partition(" Paper:")[0] for line in lines if line.startswith(_PRIMARY)]
        answers.append(f"- {answer} {' '.join(primary)} ([`{notebook}`](notebooks/{notebook}.ipynb))")
    return overview_in_markdown(profile) + "\n\n" + "\n".join(answers)


def _findings(profile: str, notebook: str) -> str:
    path = findings_path(profile, notebook)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; make it by `make reproduce PROFILE={profile}`")
    return read_text(path).strip()


def overview_in_markdown(profile: str) -> str:
    """Return the `overview` as a table in Markdown; it raises what that raises."""
    table = overview(profile)
    lines = ["| | " + " | ".join(table.columns) + " |", "| --- |" + " ---: |" * len(table.columns)]
    lines += [f"| `{strategy}` | " + " | ".join(row) + " |" for strategy, row in table.iterrows()]
    return "\n".join(lines)


def overview(profile: str) -> pd.DataFrame:
    """Return the means of the main strategies on the main task, on MLQA-R and on Tatoeba, as they are printed.

    Raises:
        FileNotFoundError: the notebook of the batch ratio has not been run.
        ValueError: what it wrote was cut or altered.
    """
    parts = read_parts(profile, "batch_ratio")
    columns: dict[str, pd.Series] = {}
    for part, title in (("main", ""), ("mlqa-r", "MLQA-R "), ("tatoeba", "Tatoeba ")):
        rows = parts[part][parts[part].strategy.isin(SHORT)] if part in parts else pd.DataFrame()
        if rows.empty:
            continue
        found = effects(rows, means_of(rows), without_seeds=WITHOUT_SEEDS)
        for heading, name in (_IN_TATOEBA if part == "tatoeba" else _HEADINGS).items():
            chosen = found[(found.setting == heading[0]) & (found.measure == heading[1])]
            if len(chosen) and (part == "main" or heading[1] != "rank_distance"):
                columns[title + name] = chosen.set_index("contrast").value.map(_format(heading[1]).format)
    there = {name for table in parts.values() for name in table.strategy}
    return pd.DataFrame(columns).reindex([name for name in SHORT if name in there]).fillna("")


def read_parts(profile: str, notebook: str) -> dict[str, pd.DataFrame]:
    """Read the tables that a notebook has written, by name, as the `read` of its parameters had given them.

    Raises:
        FileNotFoundError: the notebook has not been run.
        ValueError: what it wrote was cut or altered.
    """
    path = results_path(profile, notebook)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; make it by `make reproduce PROFILE={profile}`")
    try:
        sums = pd.read_parquet(path)
        check_columns(str(path), [*sums.columns], ("part", "strategy"))
    except (ValueError, OSError) as error:  # Arrow's errors are of these types, and name no file
        raise ValueError(f"{path} is not as notebooks write it: {error}; delete it and make it again") from error
    return {
        str(name): rows.drop(columns="part").dropna(axis="columns", how="all").reset_index(drop=True)
        for name, rows in sums.groupby("part", sort=False)
    }


def _format(measure: str) -> str:
    return "{:.0f}" if measure == "rank_distance" else "{:.3f}"
