"""The README's paragraph on speed, made from the records of the benchmarks.

    python benchmarks/summary.py

A test compares the README with these lines, so no figure in it is typed.
"""

import json
import textwrap
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
WIDTH = 110
BEGIN, END = "<!-- of benchmarks/summary.py -->", "<!-- end -->"


def kept(subject: str) -> dict[str, Any]:
    """Return the record of a benchmark."""
    return json.loads((FOLDER / f"{subject}.json").read_text(encoding="utf-8"))


def lines() -> list[str]:
    """Return the lines of the README."""
    on = kept("metric")["machine"]
    made = [f"Measured on {on['cores']} cores of an {on['processor']} by `make bench`:", ""]
    for subject in (metric, growth, sampler, loss, training, encoding):
        text = f"- [{subject.__name__}](benchmarks/{subject.__name__}.json): {subject()}"
        made += textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return made


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


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text("\n".join([before + BEGIN, *lines(), END]) + after, encoding="utf-8")


if __name__ == "__main__":
    main()
