"""The panels of the explorer in JupyterLab: each answers anew when something in it is changed.

They show what `answers`, `lists`, `figures` and `batches` make. Numbers are fields, not sliders: a slider of ipywidgets
has no name for those who do not see it.
"""

import gc
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as ipw

from hybridlib.arguments import Count, Name, Share, Text, checked
from hybridlib.data.corpus import ParallelCorpus
from hybridlib.study.explorer import answers, batches, figures, lists
from hybridlib.study.explorer.answers import Asked, Shelf
from hybridlib.study.explorer.languages import COLOURS, name_of

_WIDE: Any = {"description_width": "initial"}


@checked
def answer_panel(shelves: Mapping[str, Shelf], *, language: Name, question: Text = "", k: Count = 10) -> ipw.VBox:
    """Return a panel to ask a question in any language: the lists side by side, the ranks, and the languages.

    Args:
        shelves: the embeddings of one task, by the label of the encoder.
        language, question: what is asked first; see `answers.ask`.
        k: passages that are listed.
    """
    task = next(iter(shelves.values())).task
    asked = answers.ask(task, language, question)
    codes = sorted(set(task.queries.language))
    languages = ipw.Dropdown(options=[(f"{name_of(code)} ({code})", code) for code in codes], value=language)
    questions = ipw.Dropdown()
    typed = ipw.Text(placeholder="or type one in any language, and press Enter", continuous_update=False)
    compared = ipw.SelectMultiple(options=[*shelves], value=[*shelves], rows=max(2, min(5, len(shelves))))
    size = ipw.BoundedIntText(value=k, min=1, max=max(50, k))
    names = {"language": languages, "passages": size, "question": questions, "own question": typed}
    for name, widget in {**names, "compare (Ctrl: several)": compared}.items():
        widget.description, widget.style = name, _WIDE
    for widget in (questions, typed):
        widget.layout = ipw.Layout(width="520px", max_width="98%")
    shown = ipw.HTML()

    def offer(name: str) -> None:
        """Offer the questions of the chosen language, and choose the one of this name, if it is there."""
        rows = task.queries[task.queries.language == languages.value]
        questions.options = list(zip(rows.text, rows.question, strict=True))
        questions.value = name if name in set(rows.question) else rows.question.iloc[0]

    def answer(_: Any = None) -> None:
        own = typed.value.strip()
        chosen = Asked("", own) if own else answers.ask(task, languages.value, questions.value)
        shown.value = answer_html({label: shelves[label] for label in compared.value}, chosen, size.value)

    def choose(_: Any) -> None:
        typed.unobserve(answer, "value")  # what is chosen now takes the place of an own question
        typed.value = ""
        typed.observe(answer, "value")
        answer()

    def change_language(_: Any) -> None:
        questions.unobserve(choose, "value")  # offering others changes it, once or twice
        offer(questions.value)
        questions.observe(choose, "value")
        choose(None)

    offer(str(task.queries.question.iloc[asked.row]))
    languages.observe(change_language, "value")
    questions.observe(choose, "value")
    _on_change(answer, typed, compared, size)
    asking = ipw.VBox([_row(languages, size), questions, typed], layout=ipw.Layout(max_width="100%"))
    return ipw.VBox([_row(asking, compared), shown])


def answer_html(shelves: Mapping[str, Shelf], asked: Asked, k: int) -> str:
    """Return the answers of some encoders to a question as HTML: lists, ranks and languages."""
    if not shelves:
        return "Choose one or more to compare."
    task = next(iter(shelves.values())).task
    rankings = {label: shelf.rank(asked) for label, shelf in shelves.items()}
    found = {label: answers.first_passages(task, one, asked, k) for label, one in rankings.items()}
    shares = {label: one.language.value_counts(sort=False) for label, one in found.items()}
    parts = [str(lists.side_by_side(asked, found).data)]
    if asked.row >= 0:
        ranks = {label: answers.language_ranks(task, one, asked) for label, one in rankings.items()}
        parts.append(lists.image(figures.rank_strips(ranks, len(task.passages)), lists.told_ranks(ranks)))
    else:
        parts.append("<p>Which passages are relevant is known for the questions of the task only.</p>")
    parts.append(lists.image(figures.share_bars(shares), lists.told_shares(shares)))
    return "".join(parts)


@checked
def meaning_panel(shelves: Mapping[str, Shelf], *, language: Name, questions: Count = 6) -> ipw.VBox:
    """Return a panel with the map of meaning, and a field for the number of questions.

    Args:
        shelves: the embeddings of one task, by the label of the encoder.
        language: that in which the questions are told.
        questions: so many at first.
    """
    number = ipw.BoundedIntText(value=questions, min=2, max=len(COLOURS), description="questions")
    shown = ipw.HTML()

    def draw(_: Any = None) -> None:
        points = figures.meaning(shelves, number.value)
        said = f"The relevant passages of {number.value} questions, projected to two dimensions."
        task = next(iter(shelves.values())).task
        key = lists.question_key(points, answers.texts_of(task, points.question, language), language)
        shown.value = lists.image(figures.meaning_map(points), said) + str(key.data)

    _on_change(draw, number)
    return ipw.VBox([number, shown])


@checked
def batch_panel(corpus: ParallelCorpus, *, alpha: Share = 0.5) -> ipw.VBox:
    """Return a panel with the picture of batches, and fields for alpha and the seed."""
    share = ipw.BoundedFloatText(value=alpha, min=0, max=1, step=0.05, description="alpha")
    seed = ipw.BoundedIntText(value=0, min=0, max=99, description="seed")
    shown = ipw.HTML()

    def draw(_: Any = None) -> None:
        drawn = batches.draw_batches(corpus, alpha=share.value, seed=seed.value)
        shown.value = lists.image(batches.picture(drawn, alpha=share.value), batches.told(drawn))

    _on_change(draw, share, seed)
    return ipw.VBox([_row(share, seed), shown])


def _row(*widgets: ipw.Widget) -> ipw.HBox:
    """Put widgets side by side, or below each other where the window is narrow."""
    return ipw.HBox(widgets, layout=ipw.Layout(flex_flow="row wrap"))


def _on_change(show: Callable[[Any], None], *widgets: ipw.Widget) -> None:
    """Show what is chosen now, and again whenever one of some widgets changes."""
    gc.freeze()  # looking for garbage in what the libraries hold would keep the user waiting for half a second
    for widget in widgets:
        widget.observe(show, "value")
    show(None)
