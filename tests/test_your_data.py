"""The page about one's own data: the files that it shows are written, and every example runs as it is written."""

import json
import re
import shlex
from pathlib import Path

import datasets
import ir_datasets
import pytest
from mteb.abstasks import AbsTaskRetrieval

import hybridlib as hl
from hybridlib.paths import project_root
from hybridlib.study.cli.main import main

PAGE = (project_root() / "docs/your-data.md").read_text(encoding="utf-8")
README = (
    (project_root() / "README.md")
    .read_text(encoding="utf-8")
    .partition("\n## Your own data\n")[2]
    .partition("\n## ")[0]
)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)
# A file is shown by its path and then its content.
FILES = dict(re.findall(r"^`([\w./-]+)`[^\n]*:\n\n```\w+\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE))
MORE = 150  # items beyond those that the page shows, so that batches of 100 can be filled

pytestmark = pytest.mark.usefixtures("quickly")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the page, with a Swahili copy of the English ones, and the encoder that it names."""
    made = tmp_path_factory.mktemp("data")
    for name, content in FILES.items():
        if name == "pairs.jsonl":
            rows = [{"item": f"more {n}", "language": c, "query": f"{n} {c}?", "passage": f"{c} {n}."}
                    for n in range(MORE) for c in ("en", "sw")]  # fmt: skip
            content += "".join(json.dumps(row) + "\n" for row in rows)
        elif name == "pairs/en.csv":
            content += "".join(f"more {n},{n}?,the {n}.\n" for n in range(MORE))
        for path in {made / name, made / re.sub(r"\ben\b", "sw", name)}:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    hl.load_encoder("static", corpus=hl.read_parallel(made / "pairs.jsonl")).save_pretrained(str(made / "my-encoder"))
    return made


@pytest.fixture(autouse=True)
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in the folder; what ir_datasets and MTEB would download is made of its files."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    made = ir_datasets.create_dataset(docs_tsv="passages.tsv", queries_tsv="topics.tsv", qrels_trec="qrels.txt")
    made.docs_lang = made.queries_lang = lambda: "sw"
    monkeypatch.setattr(ir_datasets, "load", {"miracl/sw/dev": made}.__getitem__)

    def load_data(task: AbsTaskRetrieval, **options: object) -> None:
        texts = {"corpus": [{"id": "p1", "title": "", "text": "It rains."}], "queries": [{"id": "q1", "text": "When?"}]}
        split = {name: datasets.Dataset.from_list(rows) for name, rows in texts.items()}
        split |= {"relevant_docs": {"q1": {"p1": 1}}, "top_ranked": None}
        task.dataset, task.data_loaded = {code: {"dev": split} for code in task.hf_subsets}, True

    monkeypatch.setattr(AbsTaskRetrieval, "load_data", load_data)


def test_every_file_that_an_example_names_is_shown_or_a_copy_of_one_that_is():
    assert {"rain/en/corpus.jsonl", "topics.tsv", "squad/en.json", "pairs.jsonl", "pairs/en.csv"} < FILES.keys()
    assert len(FILES) == 9
    assert len(BLOCKS) == len(FILES) + sum(kind in ("python", "sh") for kind, _ in BLOCKS)  # none is left unread


def test_the_examples_in_python_run_as_they_are_written(capsys):
    names: dict[str, object] = {}
    examples = [block for kind, block in BLOCKS if kind == "python"]
    assert len(examples) == 12
    for block in examples:
        exec(block, names)
        said = capsys.readouterr().out
        if "hl.summarize" in block:
            assert "monolingual" in said and "rank_distance" in said
    for reader in (
        "read_beir",
        "read_trec",
        "read_squad",
        "from_dataset",
        "from_ir_datasets",
        "from_mteb",
        "join_tasks",
    ):
        assert any(f"hl.{reader}(" in block for block in examples)
    assert names["task"].languages == ["en", "sw"] and "cross-lingual" in names["task"].settings
    # One item of the page is in English alone, and another in both languages; the others are made for both.
    assert names["corpus"].sizes().to_dict() == {"en": MORE + 2, "sw": MORE + 1}
    assert Path("trained/modules.json").is_file()


def test_the_example_of_the_readme_runs_as_it_is_written(capsys):
    (block,) = re.findall(r"```py\n(.*?)```", README, flags=re.DOTALL)
    exec(block, names := {})
    assert "rank_distance" in capsys.readouterr().out and len(names["corpus"]) == MORE + 2


def test_the_examples_of_the_shell_run_as_they_are_written(capsys):
    blocks = [block for kind, block in BLOCKS if kind == "sh"] + re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) == 10
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "hybridlib" and main(arguments) == 0, capsys.readouterr().err
        said = capsys.readouterr().out
        assert ("Encoder  " if arguments[0] == "train" else "monolingual") in said
    assert Path("results.parquet").is_file()
    assert {path.name for path in Path().glob("trained-*")} == {"trained-hybrid", "trained-x-y"}
