"""SQuADShifts: files of upstream's layout, and what the corpus for validation makes of them."""

import dataclasses
import hashlib
import json
import logging
from pathlib import Path

import pytest

from hybridlib.data.load import load_corpus
from hybridlib.data.sources import squadshifts

# In each domain two questions on one paragraph and one on another; several people answered each, as upstream.
CONTEXTS = ["{0} has seven ships. Its king is Ole. He is old.", "It snowed in {0}. Nobody came."]
ASKED = [("1", "How many ships?", 0, ["seven", "seven ships"]), ("2", "Who is king?", 0, ["Ole"])]
ASKED += [("3", "What did it do?", 1, ["snowed"])]


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, bytes] | None = None) -> None:
    """Write the four files and make theirs the pinned checksums."""
    files = []
    for domain, file in zip(squadshifts._FILES, squadshifts.SOURCES[0].files, strict=True):
        paragraphs = []
        for number, template in enumerate(CONTEXTS):
            context = template.format(domain)
            entries = [
                {"id": key, "question": f"{text} {domain}", "answers": answers_in(context, answers)}
                for key, text, place, answers in ASKED
                if place == number
            ]
            paragraphs.append({"context": context, "qas": entries})
        content = json.dumps({"version": "1.1", "data": [{"title": "T", "paragraphs": paragraphs}]}).encode()
        content = (change or {}).get(domain, content)
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        files.append(dataclasses.replace(file, checksum=f"sha256:{hashlib.sha256(content).hexdigest()}"))
    source = dataclasses.replace(squadshifts.SOURCES[0], files=tuple(files))
    monkeypatch.setattr(squadshifts, "SOURCES", (source,))
    monkeypatch.setenv("HYBRIDLIB_DATA", str(folder))


def answers_in(context: str, answers: list[str]) -> list[dict[str, object]]:
    return [{"text": text, "answer_start": context.index(text)} for text in answers]


def test_all_four_domains_are_there_for_validation(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch)
    corpus = load_corpus("squadshifts", "validation")
    assert corpus.languages == ("en",)
    table = corpus.table.to_pandas()
    assert table.domain.tolist() == [name for name in ("new_wiki", "nyt", "reddit", "amazon") for _ in range(3)]
    assert table["query"].tolist()[3:6] == ["How many ships? nyt", "Who is king? nyt", "What did it do? nyt"]
    assert table["passage"].tolist()[3:6] == ["nyt has seven ships.", "Its king is Ole.", "It snowed in nyt."]
    # Ids and numbers of paragraphs begin anew in each domain, items and groups do not.
    assert table["item"].tolist() == list(range(12))
    assert table.passage_group.tolist() == [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]
    assert set(table["dataset"]) == {"squadshifts"} and set(table.language) == {"en"}


def test_domains_can_be_chosen(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch)
    corpus = load_corpus("squadshifts", "validation", items={"reddit": 3, "nyt": 1})
    assert sorted(corpus.table["domain"]) == ["nyt", "reddit", "reddit", "reddit"]


def test_the_first_answer_that_stands_where_it_should_counts(tmp_path, monkeypatch, caplog):
    context = "It is so. Is he old? End."
    answers = [{"text": "snow", "answer_start": 0}, {"text": "old", "answer_start": context.index("old")}]
    entries = [
        {"id": "1", "question": "Who?", "answers": answers},
        {"id": "2", "question": "?", "answers": answers[:1]},
    ]
    content = {"data": [{"title": "T", "paragraphs": [{"context": context, "qas": entries}]}]}
    write(tmp_path, monkeypatch, {"amazon": json.dumps(content).encode()})
    with caplog.at_level(logging.INFO):
        table = load_corpus("squadshifts", "validation").table
    assert len(table) == 10 and table[9]["passage"] == "Is he old?"
    assert "squadshifts: 1 questions are left out" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "train"}, "split is 'train'; allowed: validation$"),
        ({"split": "validation", "languages": ["de"]}, "languages: 'de' is not in squadshifts; allowed: en$"),
    ],
)
def test_nothing_but_english_validation_data_can_be_had(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_corpus("squadshifts", **arguments)


def test_a_file_that_is_no_squad_is_refused(tmp_path, monkeypatch):
    write(tmp_path, monkeypatch, {"reddit": b'{"data": [{}]}'})
    with pytest.raises(ValueError, match=r"reddit_v1\.0\.json is truncated or not a file in SQuAD's format: KeyError"):
        load_corpus("squadshifts", "validation")


def test_the_files_are_those_that_upstream_announces():
    # 16,505,623 bytes is the download_size of dataset_infos.json.
    assert sum(file.size for file in squadshifts.SOURCES[0].files) == 16_505_623
