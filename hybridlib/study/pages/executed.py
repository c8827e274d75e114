"""The parts of an executed notebook that a page takes: its words, in Markdown, and the notebook itself as a page."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from hybridlib.files import read_text
from hybridlib.paths import executed_path

_FIGURE = re.compile(r'params\.figure\("(\w+)"\)')
# Nothing is fetched when a rendered notebook is opened, its figures have words, and its text can be read.
_OFFLINE = """{% extends "lab/index.html.j2" %}
{% block html_head_js %}{% endblock %}
{% block jupyter_widgets %}{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
{% block html_head_css %}{{ super() }}
<style>
.jp-InputPrompt, .jp-OutputPrompt { color: #595959 !important; opacity: 1 !important; }
.highlight :is(.mi, .mf) { color: #006000; }
.highlight :is(.ow, .o) { color: #7010b0; }
.highlight .c1 { color: #2c6060; }
.jp-RenderedHTMLCommon tbody tr { background: #fff !important; }
.jp-RenderedHTMLCommon a { text-decoration: underline !important; }
</style>
{% endblock html_head_css %}
{% block data_png scoped %}
{% if output.metadata.said %}
<div class="jp-RenderedImage jp-OutputArea-output {{ extra_class }}">
<img src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"
alt="{{ output.metadata.said | escape_html }}">
</div>
{% else %}{{ super() }}{% endif %}
{% endblock data_png %}"""


@dataclass(frozen=True)
class Words:
    """The words of an executed notebook, in Markdown, without headings; empty where it has none.

    Attributes:
        title, question: those at its head.
        paper: what the paper says.
        reading: how to read its numbers.
        limits, deviations: what its results leave open, and in what they differ from the paper's.
        runs: how many runs were there when it was executed, and by what they were computed.
        captions: the heading and the text above each figure, by the figure's name, in the order of the notebook.
    """

    title: str
    question: str
    paper: str
    reading: str
    limits: str
    deviations: str
    runs: str
    captions: dict[str, tuple[str, str]]


def read_executed(profile: str, notebook: str) -> Any:
    """Read an executed notebook.

    Raises:
        FileNotFoundError: it has not been executed.
        ValueError: it was cut or altered.
    """
    import nbformat

    path = executed_path(profile, notebook)
    anew = f"make it by `make reproduce PROFILE={profile}`"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; {anew}")
    try:
        book = nbformat.reads(read_text(path), as_version=4)
        nbformat.validate(book)
    except (ValueError, AttributeError, KeyError, nbformat.ValidationError) as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is no whole notebook: {said}; delete it and {anew}") from None
    return book


def words_of(book: Any) -> Words:
    """Return the words of an executed notebook."""
    found = dict.fromkeys(("title", "question", "paper", "reading", "limits", "deviations", "runs"), "")
    captions: dict[str, tuple[str, str]] = {}
    heading = text = ""
    for kind, source in _parts(book):
        if kind == "text":
            above, text = _split(source)
            heading = above or heading
            if not found["title"]:
                found |= {"title": heading, "question": text.strip("*")}
            elif "the paper" in heading and not found["paper"]:
                found["paper"] = text
            elif heading.startswith("Limits of"):
                found["limits"] = text
            if "*How to read" in text:
                found["reading"] = text[text.index("*How to read") :]
        elif kind == "shown" and source.startswith("*How this differs"):
            found["deviations"] = source
        elif kind == "shown" and "runs come from" in heading:
            found["runs"] = source
        elif kind == "code":
            captions |= {name: (heading, text) for name in _FIGURE.findall(source)}
    return Words(**found, captions=captions)


def in_brief(paper: str) -> str:
    r"""Return what the paper says in brief: from where it is named on, or what it reports, or the first paragraph.

    >>> in_brief("One asks. The paper ([arXiv 1](https://arxiv.org/abs/1)) does not:\n\nMore.")
    'The paper does not.'
    """
    paper = re.sub(r".*?\bIt reports (.*?\.)(?=\s|\Z).*", r"The paper reports \1", paper, count=1, flags=re.DOTALL)
    named = re.search(r"\bThe paper\b.*?(?=\n\n|\Z)", paper, re.DOTALL)
    said = re.sub(r" \(\[arXiv[^()]*\([^()]*\)\)", "", named[0] if named else paper.partition("\n\n")[0])
    return said.removesuffix(":") + "." * said.endswith(":")


def rendered(book: Any, title: str, said: Mapping[str, str]) -> str:
    """Return an executed notebook as a page of HTML that needs no network, the same each time.

    Args:
        book: as returned by `read_executed`.
        title: of the page.
        said: alternative texts of figures, by name.
    """
    from nbconvert import HTMLExporter

    book = deepcopy(book)
    for cell in book.cells:
        names = _FIGURE.findall(cell.source) if cell.cell_type == "code" else []
        for output in cell.get("outputs", []):
            output.setdefault("metadata", {})["said"] = " ".join(said.get(name, "") for name in names)
    html, _ = HTMLExporter(raw_template=_OFFLINE).from_notebook_node(book, {"metadata": {"name": title}})
    return html


def _parts(book: Any) -> Iterator[tuple[str, str]]:
    """Yield texts (`text`), the sources of code (`code`), and what code has shown in Markdown (`shown`), in order."""
    for cell in book.cells:
        if cell.cell_type == "markdown":
            yield "text", cell.source
        elif cell.cell_type == "code":
            yield "code", cell.source
            for output in cell.outputs:
                if shown := output.get("data", {}).get("text/markdown"):
                    yield "shown", shown


def _split(source: str) -> tuple[str, str]:
    """Return the heading of a text, without its marks, and the rest."""
    first, _, rest = source.strip().partition("\n")
    return (first.lstrip("# "), rest.strip()) if first.startswith("#") else ("", source.strip())
