"""The report of a profile as one page of HTML that needs no network: plain data, which `report.html.jinja` lays out."""

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import mistune
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from hybridlib.arguments import told
from hybridlib.files import checksum, read_text, read_yaml
from hybridlib.names import STRATEGIES
from hybridlib.paths import executed_path, figures_of, params_path, project_root, results_path
from hybridlib.study.pages.executed import Words, in_brief, read_executed, words_of
from hybridlib.study.pages.provenance import Computed, computed_runs, data_of
from hybridlib.study.pages.results import TITLES, overview, read_parts
from hybridlib.study.params import Params
from hybridlib.study.report import findings
from hybridlib.study.report.claims import Claim
from hybridlib.study.report.words import signed

_FOLDER = Path(__file__).parent
PARTS = tuple(_FOLDER / f"report.{end}" for end in ("html.jinja", "css", "js"))
_FIGURE = r"[−+][\d.]+ (?:[a-z@\d]+ ){0,2}\[[−+][^][]*\]"  # a difference and its interval, which stay on one line
_SVG = "{http://www.w3.org/2000/svg}"


class Drawn(NamedTuple):
    """A figure: its place and size, its heading and caption, and what it shows in words, in short and line by line."""

    name: str
    heading: str
    caption: Markup
    source: str
    width: int
    height: int
    short: str
    lines: list[tuple[str, list[str]]]


class Answer(NamedTuple):
    """A primary claim: whether it holds, the difference and its interval, and the paper's figures of its two sides."""

    claim: str
    said: str
    number: str
    interval: str
    sides: str
    paper: str


class Question(NamedTuple):
    """The part of the page that is about one notebook."""

    notebook: str
    words: Words
    question: str
    verdict: str
    answers: list[Answer]
    told: Markup
    claims: list[dict[str, Any]]
    drawn: list[Drawn]
    settings: list[tuple[str, str]]
    runs: list[Computed]
    made: list[tuple[str, str]]


def report_page(profile: str, notebooks: Mapping[str, Any]) -> str:
    """Return the page; the same files give the same text.

    Args:
        profile: the folder of `results/` that the notebooks have written.
        notebooks: the parameters of each, by its name.

    Raises:
        FileNotFoundError: a notebook has not been run.
        ValueError: what it has made was cut or altered, and the message names the file; or no notebook asks a question.
    """
    ordered = [name for name in TITLES if name in notebooks]
    if not ordered:
        raise ValueError(f"profile is {told(profile)}; allowed for a report: one that asks one of {', '.join(TITLES)}")
    questions = [_question(profile, notebooks[name]) for name in ordered]
    runs = [run for name in ordered for run in notebooks[name].runs()]
    style, script = (Markup(read_text(_FOLDER / f"report.{end}")) for end in ("css", "js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = {
        "profile": profile,
        "demonstration": any(notebooks[name].is_demonstration for name in ordered),
        "encoders": ", ".join(dict.fromkeys(notebooks[name].encoder for name in ordered)),
        "questions": questions,
        "overview": overview(profile) if "batch_ratio" in ordered else None,
        "task": notebooks[ordered[0]].task,
        "data": data_of(runs),
        "names": _names(),
        "others": [name for name in notebooks if name not in ordered],
        "demonstrated": findings.DEMONSTRATION,
        "style": style,
        "script": script,
        "script_digest": f"sha256-{digest}",
    }
    return _layout().render(page)


def _question(profile: str, params: Params) -> Question:
    notebook = params.notebook
    words = words_of(read_executed(profile, notebook))
    checked = findings.check_claims(params.claims, read_parts(profile, notebook))
    paired = findings.paired(params.claims, checked)
    holds = [row["holds"] for claim, row in paired if claim.kind == "primary"]
    answered = str(findings.answer(params, checked)).partition("\n\n")[2]
    return Question(
        notebook=notebook,
        words=words,
        question=params.question,
        verdict="" if params.is_demonstration else findings.word(holds),
        answers=[_answer(claim, row, params) for claim, row in paired if claim.kind == "primary"],
        told=markdown(answered),
        claims=[_claim(row) for _, row in paired],
        drawn=drawn_by(profile, words, notebook),
        settings=_flat(read_yaml(params_path(profile, notebook))),
        runs=computed_runs(params),
        made=[
            (str(path.relative_to(project_root())), checksum(path))
            for path in (executed_path(profile, notebook), results_path(profile, notebook))
        ],
    )


def _answer(claim: Claim, row: Mapping[str, Any], params: Params) -> Answer:
    there = row["holds"] != "not computed"
    number, _, interval = findings.difference_of(row).rpartition(" [") if there else ("", "", "")
    said = "" if params.is_demonstration else findings.said(row) if there else "not computed"
    _, *sides = claim.paper or ("",)
    return Answer(claim.text, said, number, f"[{interval}" if there else "", " against ".join(sides), row["paper"])


def _claim(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the table of claims: what is shown, and under `sorted` the numbers by which it is sorted."""
    there = row["holds"] != "not computed"
    numbers = {name: signed(row[name], row["measure"]) if there else "" for name in ("difference", "lower", "upper")}
    return {
        **{name: str(row[name]) for name in ("claim", "kind", "on", "setting", "paper")},
        "said": findings.said(row) if there else "not computed",
        "measure": row["measure"].replace("_", " "),
        "difference": numbers["difference"],
        "interval": f"[{numbers['lower']}, {numbers['upper']}]" if there else "",
        "p": f"{row['p']:.2g}" if there and pd.notna(row["p"]) else "",
        "sorted": {name: repr(float(row[name])) if there else "" for name in ("difference", "lower", "p")},
    }


def drawn_by(profile: str, words: Words, notebook: str) -> list[Drawn]:
    """Return the figures of a notebook, in its order.

    Raises:
        ValueError: one was cut or altered; the message names the file.
    """
    paths = {path.stem.partition("-")[2]: path for path in figures_of(profile, notebook)}
    order = dict.fromkeys([*words.captions, *paths])
    return [_figure(paths[name], *words.captions.get(name, ("", ""))) for name in order if name in paths]


def _figure(path: Path, heading: str, caption: str) -> Drawn:
    text = read_text(path)
    try:
        root = ElementTree.fromstring(text)
        _, _, width, height = map(float, root.attrib["viewBox"].split())
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no whole SVG: {error}; delete it and make it again") from None
    name = path.stem.partition("-")[2].replace("_", " ")
    said = root.findtext(f"{_SVG}desc") or f"Figure: {name}."
    head, *lines = said.split("\n")
    parts = [(title, rest.rstrip(".").split("; ")) for title, _, rest in (line.partition(": ") for line in lines)]
    source = "data:image/svg+xml;base64," + base64.b64encode(text.encode()).decode()
    size = round(width), round(height)
    short = " ".join([head, *lines[:1]])
    return Drawn(path.stem, heading or name.capitalize(), markdown(caption), source, *size, short, parts)


def _flat(values: Any, within: str = "") -> list[tuple[str, str]]:
    """Return parameters by name, those of a group with its name and a dot before theirs."""
    rows = []
    for name, value in values.items():
        if name == "training" and isinstance(value, dict):
            rows += _flat(value, f"{within}{name}.")
        else:
            rows.append((f"{within}{name}", "none" if value in ([], {}, None) else _value(value)))
    return rows


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"[{_value(one)}]" if isinstance(one, list | dict) else str(one) for one in value)
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_value(one) or 'all'}" for name, one in value.items())
    return str(value)


def _names() -> list[tuple[str, Markup]]:
    """Return what names in tables and figures mean, from the table of the README; none where there is no such table."""
    readme = project_root() / "README.md"
    text = read_text(readme) if readme.is_file() else ""
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", text.partition("| name | meaning |\n")[2].partition("\n\n")[0], re.M)
    return [(name.strip("`"), markdown(meaning, inline=True)) for name, meaning in rows if name.strip("-")]


class _Renderer(mistune.HTMLRenderer):
    """A renderer whose links lead to the web or nowhere, since a page that was sent has no files beside it."""

    def text(self, text: str) -> str:
        return str(_whole(text))

    def codespan(self, text: str) -> str:
        return f'<code class="name">{escape(text)}</code>' if text in STRATEGIES else super().codespan(text)

    def link(self, text: str, url: str, title: str | None = None) -> str:
        return super().link(text, url, title) if url.startswith("https://") else text

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return mistune.escape(text)


def markdown(text: str, *, inline: bool = False) -> Markup:
    """Return a text in Markdown as HTML; what is HTML in it is shown as it is written.

    >>> markdown("a `<b>` [c](https://d.org) <script>")
    Markup('<p>a <code>&lt;b&gt;</code> <a href="https://d.org">c</a> &lt;script&gt;</p>')
    """
    whole = re.sub(_FIGURE, lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)
    html = str(mistune.create_markdown(renderer=_Renderer(escape=True))(whole)).strip()
    return Markup(html.removeprefix("<p>").removesuffix("</p>") if inline else html)


def _whole(text: str) -> Markup:
    """Keep the names of strategies in a text from being broken at their hyphens."""
    names = "|".join(sorted(map(re.escape, STRATEGIES), reverse=True))
    return Markup(re.sub(rf"(?<![\w-])({names})(?![\w-])", r'<span class="name">\1</span>', str(escape(text))))


@cache
def _layout() -> Any:
    settings: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    layouts = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, **settings)
    layouts.filters |= {"markdown": markdown, "brief": in_brief, "whole": _whole}
    return layouts.get_template("report.html.jinja")
