"""The README's section on speed and the GPU's goals in docs/performance.md, made from the records of the benchmarks.

    python benchmarks/summary.py

A test compares both with these lines, so no figure in them is typed.
"""

import json
import textwrap
from pathlib import Path
from typing import Any

from gpu_goals import told

FOLDER = Path(__file__).parent
README, PERFORMANCE = FOLDER.parent / "README.md", FOLDER.parent / "docs" / "performance.md"
WIDTH = 110
BEGIN, END = "<!-- of benchmarks/summary.py -->", "<!-- end -->"


def kept(subject: str) -> dict[str, Any]:
    """Return the record of a benchmark."""
    return json.loads((FOLDER / f"{subject}.json").read_text(encoding="utf-8"))


def lines() -> list[str]:
    """Return the lines of the README: what was measured on a CPU, on a GPU, and what was counted."""
    on, record = kept("metric")["machine"], kept("gpu")
    made = [f"On a CPU, {told_machine(on)}, measured by `make bench`:", ""]
    for subject in (metric, growth, sampler, loss, training, encoding):
        other = kept(subject.__name__)["machine"]
        elsewhere = "" if told_machine(other) == told_machine(on) else f" (On {told_machine(other)}.)"
        made += bullet(subject.__name__, subject() + elsewhere)
    where = "On one {device} ({date}, commit {commit}), measured by `benchmarks/gpu.py`:".format(**record)
    made += ["", *wrapped(where), "", *bullet("gpu", gpu(record))]
    made += ["", "What a GPU would be asked to do, counted on a CPU:", ""]
    return [*made, *bullet("launches", launches())]


def wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def bullet(name: str, text: str) -> list[str]:
    return wrapped(f"- [{name}](benchmarks/{name}.json): {text}", indent="  ")


def told_machine(machine: dict[str, Any]) -> str:
    return f"{machine['cores']} cores of an {machine['processor']}"


def metric() -> str:
    seconds = kept("metric")["seconds"]
    floor = min(value for label, value in seconds.items() if label.startswith("bare float32 product"))
    ranks = next(value for label, value in seconds.items() if label.startswith("exact ranks"))
    report = next(value for label, value in seconds.items() if label.startswith("the whole report"))
    times = {label: value / report for label, value in seconds.items() if value > 10 * report}
    each = ", ".join(f"{label} {value:,.0f}" for label, value in sorted(times.items(), key=lambda one: one[1]))
    return (
        f"All values of XQuAD-R, exact to float64, take {report:.2f} s. The ranks alone take {ranks / floor:.2f} "
        f"times a bare float32 product. Peers take {min(times.values()):,.0f} to {max(times.values()):,.0f} times as "
        f"long: {each}."
    )


def growth() -> str:
    ours = [row for row in kept("growth")["rows"] if row["contender"].startswith("hybridlib")]
    sizes, megabytes = [row["passages"] for row in ours], [row["MB"] for row in ours]
    return (
        f"Memory does not grow with the corpus. From {min(sizes):,} to {max(sizes):,} passages the ranks take "
        f"{min(megabytes):.0f} to {max(megabytes):.0f} MB."
    )


def sampler() -> str:
    rows = kept("sampler")["rows"]
    ours = max((row for row in rows if row["sampler"] == "hybrid"), key=lambda row: row["items"])
    peer = max((row for row in rows if row["sampler"] == "no-duplicates"), key=lambda row: row["items"])
    return (
        f"{ours['items']:,} items take {ours['memory_mb']:.0f} MB. Hybrid batches are drawn at "
        f"{ours['pairs_per_s']:,.0f} pairs a second, and a batch in mid-epoch comes after "
        f"{ours['first_batch_ms']:,.0f} ms. The no-duplicates sampler of sentence-transformers draws "
        f"{peer['pairs_per_s']:,.0f} pairs a second from {peer['items']:,} pairs, and takes "
        f"{peer['first_batch_ms']:,.0f} ms to mid-epoch."
    )


def loss() -> str:
    record = kept("loss")
    rows = {(row["pairs"], row["contender"]): row for row in record["rows"]}
    pairs, beside = max(pairs for pairs, _ in rows), record["at_the_largest"]
    return (
        f"A batch of {pairs:,} pairs takes {beside['seconds_of_plain']:.2f} of the time and "
        f"1/{1 / beside['memory_of_plain']:.0f} of the memory of a plain cross-entropy. Its gradients are off float64 "
        f"by {rows[pairs, 'ours cached']['error']:.0e}, those of the plain one by {rows[pairs, 'plain']['error']:.0e}."
    )


def training() -> str:
    record = kept("training")
    stock, ours = record["padding"][str(record["pairs_in_a_batch"])].values()
    return (
        f"{record['speed_up']:.1f} times the pairs per second of the stock trainer, with the same batches and losses. "
        f"{ours:.0%} of the tokens are padding, against {stock:.0%}."
    )


def encoding() -> str:
    record = kept("encoding")
    return (
        f"{record['speed_up']['float32']:.1f} times the texts per second of stock `encode` in float32, and "
        f"{record['speed_up']['bfloat16']:.1f} times in bfloat16. The least cosine in bfloat16 is "
        f"{record['least_cosine']['bfloat16']:.5f}."
    )


def gpu(record: dict[str, Any]) -> str:
    """Tell what was reached in each part that has rows, and what failed."""
    rows = {(row["part"], row["contender"], row["size"]): row for row in record["rows"]}
    said = []
    if row := rows.get(("metric", "float16", 8_000_000)):
        said.append(
            f"Exact ranks of 1,024 queries in 8 million passages take {row['seconds'] * 1000:.0f} ms, "
            f"{row['of_product']:.0%} of the speed of a bare product."
        )
    if row := rows.get(("encoding", "embed_texts, bfloat16", 6_000)):
        said.append(f"`embed_texts` encodes {row['tokens_per_s']:,.0f} tokens a second with the shape of XLM-R base.")
    if row := rows.get(("training", "fine_tune, XLM-R base", 100)):
        said.append(f"A step of `fine_tune` with 100 pairs takes {row['seconds'] * 1000:.0f} ms in that shape.")
    if row := rows.get(("loss", "ours cached", 8_192)):
        said.append(
            f"The cached loss of 8,192 pairs takes {row['times']:.1f} times as long as a plain one, in "
            f"{row['of_memory']:.2f} of its memory."
        )
    failed = [f"{row['part']} ({row['error']})" for row in record["rows"] if "error" in row]
    said += [f"Some parts did not end: {', '.join(failed)}."] if failed else []
    since = ["The code has changed since, which the page on performance tells."] if "about" in record else []
    return " ".join([*said, tally(record["goals"]), *since])


def tally(goals: list[dict[str, Any]]) -> str:
    met, missed, unknown = (sum(goal["said"] == word for goal in goals) for word in ("met", "missed", "not measured"))
    return f"Of {len(goals)} goals, {met} are met, {missed} are missed, and {unknown} were not measured."


def goals() -> list[str]:
    """Return the lines of docs/performance.md: a sentence on the goals, and a table of them."""
    judged = kept("gpu")["goals"]
    table = [["goal", "reached", "wanted"], ["---"] * 3, *map(told, judged)]
    return [*wrapped(tally(judged)), "", *(f"| {' | '.join(cells)} |" for cells in table)]


def told_row(row: dict[str, Any]) -> str:
    waits = f"{row['waits']} wait" + "s" * (row["waits"] != 1)
    return f"{row['operators']:,} operators, {waits}, and {row['megabytes']:,.0f} MB read and written"


def launches() -> str:
    rows = {row["contender"]: row for row in kept("launches")["rows"]}
    said = []
    for ours, stock, what in (
        ("embed_texts, bfloat16", "stock encode, bfloat16", "A further batch of 32 texts encoded in bfloat16"),
        ("fine_tune", "stock trainer", "A step of training with 100 pairs"),
    ):
        said.append(f"{what} takes {told_row(rows[ours])}; stock takes {told_row(rows[stock])}.")
    return " ".join(said)


def main() -> None:
    for path, made in ((README, lines()), (PERFORMANCE, goals())):
        before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        path.write_text("\n".join([before + BEGIN, *made, END]) + after, encoding="utf-8")


if __name__ == "__main__":
    main()
