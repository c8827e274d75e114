"""Tasks of one's own by the name of a format and a place."""

import inspect
import json
from pathlib import Path

import ir_datasets
import pytest
from made_tasks import Made, lines, write, write_beir

import hybridlib as hl
from hybridlib.data.formats.named import FORMATS, load_named

SMALL = Made([("d1", "Rain", "It rains."), ("d2", "", "It snows.")], [("q1", "rain?")], [("q1", "d1", 1)])
TREC = ("topics.tsv", "qrels.txt", "passages.tsv.gz")


def same(task, other):
    """Tell whether two tasks hold the same."""
    tables = [(one.queries, one.passages, one.qrels) for one in (task, other)]
    return all(first.equals(second) for first, second in zip(*tables, strict=True)) and task.settings == other.settings


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Stand in a folder with a task of each layout."""
    monkeypatch.chdir(tmp_path)
    for code in ("sw", "en", "yo"):
        write_beir(Path("beir") / code, SMALL, packed=".gz" if code == "sw" else "")
        write(Path("trec") / code / "topics.tsv", "q1\train?\n")
        write(Path("trec") / code / "qrels.txt", "q1 0 d1 1\n")
        write(Path("trec") / code / "passages.tsv.gz", "d1\tIt rains.\nd2\tIt snows.\n")


@pytest.mark.parametrize("parallel", [True, False])
def test_folders_of_languages_in_a_folder_are_found_by_their_names(here, parallel):
    folders = {code: f"beir/{code}" for code in ("en", "sw", "yo")}
    assert same(load_named("beir:beir", parallel=parallel), hl.read_beir(folders, parallel=parallel))
    some = {code: folders[code] for code in ("sw", "en")}
    chosen = load_named("beir:beir", parallel=parallel, languages=["sw", "en"])
    assert same(chosen, hl.read_beir(some, parallel=parallel))
    files = [
        {code: f"trec/{code}/{name}" for code in folders} for name in ("topics.tsv", "qrels.txt", "passages.tsv.gz")
    ]
    assert same(load_named("trec:trec", parallel=parallel), hl.read_trec(*files, parallel=parallel))


def test_a_folder_and_three_files_are_a_task_of_one_language(here):
    assert same(load_named("beir:beir/sw", language="sw"), hl.read_beir("beir/sw", language="sw"))
    files = [f"trec/sw/{name}" for name in TREC]
    expected = hl.read_trec(*files, language="sw")
    assert same(load_named("trec:trec/sw", language="sw"), expected)
    assert same(load_named(f"trec:{','.join(files)}", language="sw"), expected)


def test_options_reach_the_reader(here):
    write(Path("beir/en/qrels/dev.tsv"), "query-id\tcorpus-id\tscore\nq1\td2\t1\nq1\tx\t1\n")
    task = load_named("beir:beir/en", language="en", split="dev", missing="drop", ignore_identical_ids=True)
    assert task.qrels.passage_id.tolist() == ["d2"] and task.pool and task.ignore_identical_ids


def test_languages_of_a_single_folder_are_kept_apart(tmp_path):
    made = Made(
        [("1", "", "rain"), ("2", "", "mvua")], [("1", "rain?"), ("2", "mvua?")], [("1", "1", 1), ("2", "2", 1)]
    )
    folder = write_beir(tmp_path, made)
    for path in folder.glob("*.jsonl"):
        both = zip(path.read_text().splitlines(), ("en", "sw"), strict=True)
        path.write_text("".join(f'{line[:-1]}, "language": "{code}"}}\n' for line, code in both))
    assert load_named(f"beir:{folder}").languages == ["en", "sw"]
    assert load_named(f"beir:{folder}", languages=["sw"]).passages.text.tolist() == ["mvua"]
    with pytest.raises(ValueError, match="languages: 'yo' is not in the task; allowed: en, sw"):
        load_named(f"beir:{folder}", languages=["yo"])


def test_a_dataset_of_ir_datasets_is_taken_by_its_name(here):
    paths = [
        str(write(Path(name), text))
        for name, text in (("d", "d1\tRain.\n"), ("q", "q1\train?\n"), ("r", "q1 0 d1 1\n"))
    ]
    ir_datasets.registry.register("hybridlib-named/test", ir_datasets.create_dataset(*paths))
    task = load_named("ir_datasets:hybridlib-named/test", language="en")
    assert task.passages["text"][:] == ["Rain."]


def squad(text):
    answer = {"text": text, "answer_start": 0}
    paragraph = {"context": f"{text} falls.", "qas": [{"id": "a", "question": "What?", "answers": [answer]}]}
    return json.dumps({"data": [{"title": "Weather", "paragraphs": [paragraph]}]})


def test_files_of_squad_are_called_by_their_languages(here):
    files = {"en": write(Path("squad/xquad.en.json"), squad("Rain")), "sw": write(Path("squad/sw.json"), squad("Mvua"))}
    assert same(load_named("squad:squad"), hl.read_squad(files))
    assert same(load_named("squad:squad", languages=["sw"]), hl.read_squad({"sw": files["sw"]}))
    assert same(load_named("squad:squad/sw.json", language="sw"), hl.read_squad({"sw": files["sw"]}))
    with pytest.raises(ValueError, match=r"^language is 'sw'; expected files in a folder that are called by"):
        load_named("squad:squad", language="sw")
    write(Path("squad/en.json"), squad("Rain"))
    with pytest.raises(ValueError, match=r"^squad holds two files of a language: \['en\.json', 'xquad\.en\.json', 'sw"):
        load_named("squad:squad")


def test_pairs_are_read_from_their_files(here):
    rows = [{"item": 1, "language": code, "query": f"{code}?", "passage": code} for code in ("en", "sw")]
    write(Path("pairs.jsonl"), lines(rows))
    assert same(load_named("pairs:pairs.jsonl"), hl.from_dataset("pairs.jsonl"))
    assert load_named("pairs:pairs.jsonl", languages=["sw"]).languages == ["sw"]


def test_a_task_of_mteb_is_taken_by_its_name(monkeypatch):
    asked = []
    monkeypatch.setattr("mteb.get_task", lambda name: asked.append(name) or 5)
    with pytest.raises(ValueError, match="task is 5; allowed: a retrieval task of MTEB"):
        load_named("mteb:NFCorpus", split="test", missing="drop")
    assert asked == ["NFCorpus"]
    monkeypatch.setattr("hybridlib.data.formats.named.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="mteb:NAME needs the package mteb: pip install mteb"):
        load_named("mteb:NFCorpus")


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("beir:beir", {}, ValueError, "parallel is None; allowed for several languages"),
        (
            "beir:beir",
            {"parallel": True, "languages": ["de"]},
            ValueError,
            "languages: 'de' is not in beir; allowed",
        ),
        (
            "beir:beir",
            {"parallel": True, "language": "en"},
            ValueError,
            "language is 'en'; allowed for several",
        ),
        (
            "beir:nowhere",
            {"language": "en"},
            FileNotFoundError,
            "nowhere does not exist; expected a folder",
        ),
        ("beir:trec", {"language": "en"}, FileNotFoundError, "trec/corpus.jsonl does not exist"),
        ("beir:~nobodyatall", {}, ValueError, "the place is '~nobodyatall'; allowed: the path of a file"),
        ("trec:beir", {"language": "en"}, FileNotFoundError, r"beir has no file topics\.\*; expected topics"),
        ("trec:a,b", {"language": "en"}, ValueError, "the files are 2; allowed: a folder, or TOPICS,QRELS,PASSAGES"),
        ("trec:trec/en", {"split": "dev"}, ValueError, "split is 'dev'; trec has none: allowed is None"),
        ("ir_datasets:x", {"parallel": True}, ValueError, "parallel is True; ir_datasets has none: allowed is None"),
        ("ir_datasets:x", {}, ValueError, "dataset is 'x'; allowed: the name of a dataset of ir_datasets"),
        ("mteb:NoSuchTask", {}, ValueError, "the task is 'NoSuchTask'; allowed: the name of a task of MTEB"),
        ("squad:nowhere.json", {}, ValueError, r"language is None; allowed: the code of the language of nowhere\.json"),
        ("squad:nowhere.json", {"language": "en"}, FileNotFoundError, r"nowhere\.json does not exist"),
        ("squad:beir", {}, ValueError, "beir holds no file <language>.json; expected files in a folder"),
        ("pairs:nowhere.jsonl", {}, FileNotFoundError, "nowhere.jsonl"),
        ("pairs:x.jsonl", {"language": "en"}, ValueError, "language is 'en'; pairs has none: allowed is None"),
        ("beir:", {}, ValueError, "task is 'beir:'; allowed: beir:..., trec:..."),
        ("beir", {}, ValueError, "task is 'beir'; allowed: beir:..., trec:..."),
        ("bier:x", {}, ValueError, "task is 'bier:x'; allowed: beir:..., trec:..."),
    ],
)
def test_names_and_options_that_do_not_fit_are_refused(here, name, options, error, message):
    with pytest.raises(error, match=f"^{message}"):
        load_named(name, **options)


def test_two_files_of_one_kind_are_refused(here):
    write(Path("trec/en/qrels.tsv"), "q1 0 d1 1\n")
    with pytest.raises(
        ValueError, match=r"^trec/en has several files qrels\.\*: \['qrels\.tsv', 'qrels\.txt'\]; allowed"
    ):
        load_named("trec:trec/en", language="en")


def test_every_option_of_a_format_is_one_that_a_name_can_be_given():
    known = set(inspect.signature(load_named).parameters)
    assert all(set(takes) <= known for _, takes in FORMATS.values())
