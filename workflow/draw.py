"""Draw the workflow's graph from what `snakemake --dag` prints: `make dag` calls it.

Training runs are dots, those that the same notebooks use in one block; so what notebooks share is seen at once.
"""

import argparse
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from hybridlib.paths import figure_path, project_root, replacing

ROW = 25  # dots in a row of a block
LEFT = 36  # where the notebooks stand, in dots

Uses = Mapping[str, frozenset[str]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="embedded")
    profile = parser.parse_args(arguments).profile
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--forceall", "--dag", "--config", f"profile={profile}"]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {done.stderr}")
    path = figure_path(profile, "workflow")
    with replacing(path) as draft:
        draw(runs_and_their_notebooks(done.stdout)).savefig(draft, dpi=150, bbox_inches="tight")
    sys.stdout.write(f"{path.relative_to(project_root())}\n")


def runs_and_their_notebooks(dot: str) -> dict[str, frozenset[str]]:
    r"""From the graph in the language of Graphviz, the notebooks that use each run.

    >>> graph = r'0[label = "notebook\nnotebook: a", x = "1"]; 1[label = "run\nkey: 3f", x = "1"]; 1 -> 0'
    >>> runs_and_their_notebooks(graph)
    {'3f': frozenset({'a'})}
    """
    keys = dict(re.findall(r'(\d+)\[label = "run\\nkey: (\w+)"', dot))
    notebooks = dict(re.findall(r'(\d+)\[label = "notebook\\nnotebook: (\w+)"', dot))
    used = defaultdict(set)
    for run, notebook in re.findall(r"(\d+) -> (\d+)", dot):
        if run in keys and notebook in notebooks:
            used[keys[run]].add(notebooks[notebook])
    return {key: frozenset(names) for key, names in used.items()}


def draw(uses: Uses) -> Figure:
    """Blocks of runs on the left, the notebooks that use them in the middle, what these make on the right.

    Args:
        uses: as of `runs_and_their_notebooks`.
    """
    notebooks = sorted(set().union(*uses.values()))
    blocks = Counter(uses.values())
    # A block stands near its notebooks, so that few lines cross.
    order = sorted(blocks, key=lambda names: (sum(map(notebooks.index, names)) / len(names), len(names)))
    heights = [max(-(-blocks[names] // ROW) + 2.5, 4.5) for names in order]
    total = sum(heights)
    middles = {names: sum(heights[:place]) + heights[place] / 2 for place, names in enumerate(order)}
    own = {name: middles.get(frozenset({name})) for name in notebooks}
    if None in own.values():  # those without runs of their own have no block to stand beside
        total = max(total, 4.5 * len(notebooks))
        own = {name: total * (place + 0.5) / len(notebooks) for place, name in enumerate(notebooks)}
    figure = Figure(figsize=(11, 0.8 + 0.17 * total))
    axes = figure.add_subplot()
    width = 3 + max(map(len, notebooks))
    for names, middle in middles.items():
        _draw_block(axes, middle, blocks[names], [own[name] for name in sorted(names)])
    for name, place in own.items():
        _draw_notebook(axes, place, name, sum(name in names for names in uses.values()), width)
    shared = sum(len(names) > 1 for names in uses.values())
    title = f"{len(uses)} training runs" + (f", {shared} of them shared by notebooks" if shared else "")
    axes.set_title(title, loc="left")
    axes.set(xlim=(-1, LEFT + width + 22), ylim=(total, 0))
    axes.axis("off")
    return figure


def _draw_block(axes: Axes, middle: float, number: int, places: Sequence[float]) -> None:
    """One block of runs, a dot each, and its lines to the notebooks that use it; shared runs are dark rings."""
    shared = len(places) > 1
    rows, color = -(-number // ROW), "0.1" if shared else "C0"
    across = [dot % ROW for dot in range(number)]
    down = [middle - (rows - 1) / 2 + dot // ROW for dot in range(number)]
    axes.scatter(across, down, s=16, facecolor="none" if shared else color, edgecolor=color)
    sharing = f", shared by {len(places)} notebooks" if shared else ""
    label = f"{number} run{'s' if number > 1 else ''}{sharing}"
    axes.text(-0.4, middle - rows / 2 - 0.1, label, fontsize=9, color="0.1", ha="left", va="bottom")
    for place in places:
        axes.plot([min(number, ROW), ROW, LEFT], [middle, middle, place], color=color, linewidth=1.2, zorder=0)


def _draw_notebook(axes: Axes, place: float, name: str, number: int, width: float) -> None:
    """The box of a notebook, and an arrow to what it makes."""
    box = FancyBboxPatch((LEFT, place - 1.6), width, 3.2, boxstyle="round,pad=0,rounding_size=0.6")
    box.set(facecolor="white", edgecolor="0.3")
    axes.add_patch(box)
    label = f"{name}\n{number} run{'s' if number > 1 else ''}"
    axes.text(LEFT + 1, place, label, ha="left", va="center", fontsize=10)
    axes.annotate(
        "figures, results, findings",
        xy=(LEFT + width, place),
        xytext=(LEFT + width + 5, place),
        arrowprops={"arrowstyle": "<-", "color": "0.3", "shrinkA": 4, "shrinkB": 0},
        va="center",
        fontsize=9,
    )


if __name__ == "__main__":
    main()
