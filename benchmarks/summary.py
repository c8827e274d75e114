"""One line a subject, from what the benchmarks have kept; `python benchmarks/summary.py` writes them into the README.

A test compares the README with these lines, so no figure in it is typed.
"""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
BEGIN, END = "<!-- of benchmarks/summary.py -->", "<!-- end -->"


def kept(subject: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{subject}.json").read_text(encoding="utf-8"))


def lines() -> list[str]:
    """The lines of the README, one a subject."""
    on = kept("metric")["machine"]
    said = {
        "metric": metric(),
        "growth": growth(),
        "sampler": sampler(),
        "loss": loss(),
        "training": training(),
        "encoding": encoding(),
    }
    head = f"On {on['cores']} cores of an {on['processor']}, by `make bench`:"
    return [head, "", *(f"- [{subject}](benchmarks/{subject}.json): {text}" for subject, text in said.items())]


def metric() -> str:
    seconds = kept("metric")["seconds"]
    floor = min(value for label, value in seconds.items() if label.startswith("bare float32 product"))
    ranks = next(value for label, value in seconds.items() if label.startswith("exact ranks"))
    report = next(value for label, value in seconds.items() if label.startswith("the whole report"))
    peers = {label: value for label, value in seconds.items() if value > 10 * report}
    behind = ", ".join(f"{label} {value / report:,.0f}" for label, value in sorted(peers.items(), key=lambda x: x[1]))
    return (
        f"all of XQuAD-R's values, exact to float64, in {report:.2f} s; the ranks alone take {ranks / floor:.2f} times "
        f"a bare float32 product. Peers take so many times as long: {behind}."
    )


def growth() -> str:
    record = kept("growth")
    ours = [row for row in record["rows"] if row["contender"].startswith("hybridlib")]
    sizes, megabytes = [row["passages"] for row in ours], [row["MB"] for row in ours]
    return (
        f"from {min(sizes):,} to {max(sizes):,} passages the ranks take between {min(megabytes):.0f} and "
        f"{max(megabytes):.0f} MB, whatever the size."
    )


def sampler() -> str:
    rows = kept("sampler")["rows"]
    of = {(row["items"], row["sampler"]): row for row in rows}
    most = max(row["items"] for row in rows)
    ours, table = of[most, "hybrid"], max(row["items"] for row in rows if row["sampler"] == "no-duplicates")
    return (
        f"{ours['pairs_per_s']:,.0f} hybrid pairs a second from {most:,} items in {ours['memory_mb']:.0f} MB, and "
        f"{ours['first_batch_ms']:,.0f} ms to a batch in mid-epoch; sentence-transformers' no-duplicates sampler: "
        f"{of[table, 'no-duplicates']['pairs_per_s']:,.0f} from {table:,} pairs, and "
        f"{of[table, 'no-duplicates']['first_batch_ms']:,.0f} ms."
    )


def loss() -> str:
    record = kept("loss")
    rows = {(row["pairs"], row["contender"]): row for row in record["rows"]}
    pairs, beside = max(pairs for pairs, _ in rows), record["at_the_largest"]
    ours = rows[pairs, "ours cached"]
    return (
        f"a batch of {pairs:,} in {beside['seconds_of_plain']:.2f} of the time and "
        f"1/{1 / beside['memory_of_plain']:.0f} of the memory of a plain cross-entropy; its gradients are "
        f"{ours['error']:.0e} off float64, "
        f"where plain ones are {rows[pairs, 'plain']['error']:.0e} off."
    )


def training() -> str:
    record = kept("training")
    pairs = str(record["pairs_in_a_batch"])
    stock, ours = record["padding"][pairs].values()
    return (
        f"{record['speed_up']:.1f} times the pairs per second of the stock trainer, with the same batches and losses; "
        f"{ours:.0%} of the tokens are padding, not {stock:.0%}."
    )


def encoding() -> str:
    record = kept("encoding")
    return (
        f"{record['speed_up']['float32']:.1f} times the texts per second of stock `encode` in float32, and "
        f"{record['speed_up']['bfloat16']:.1f} times in bfloat16 "
        f"(least cosine {record['least_cosine']['bfloat16']:.5f})."
    )


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text("\n".join([before + BEGIN, *lines(), END]) + after, encoding="utf-8")


if __name__ == "__main__":
    main()
