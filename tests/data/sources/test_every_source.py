"""Every source: its pinned files, the arguments that it refuses, and each way in which its files can be at fault."""

import re

import numpy as np
import pyarrow as pa
import pytest
from made_sources import GERMAN, MADE, SCHEMA, articles, belebele, gz, packed, passage, read, xquad, xquad_path

from hybridlib.data.load import SOURCES, load_corpus, load_task
from hybridlib.data.sources.source import fetch

_GITHUB, _HUB = "https://raw.githubusercontent.com", "https://huggingface.co/datasets"
_LAREQA = f"{_GITHUB}/google-research-datasets/lareqa"
# Each row has the numbers of languages and of files, and the beginning of the URL of the first file.
PINNED = {
    "xquad-r": (11, 11, f"{_LAREQA}/9bc8c7fb6dd8d01d72a05a93c2cb96882b0d299c/xquad-r/ar.json"),
    "mlqa-r": (7, 7, f"{_LAREQA}/354d67d1cd066854cdfbf5ad0e6105528976141d/mlqa-r/ar.json"),
    "miracl": (18, 222 + 2 * 18, f"{_GITHUB}/castorini/anserini-tools/6bb119c4ec0311985b0f9b9469c214051514d3f8/topics"),
    "tatoeba": (36, 72, f"{_GITHUB}/facebookresearch/LASER/fec5c7d63daa2bea9d127e8252b10e87278586c0/data/tatoeba/v1/"),
    "xquad": (12, 12, f"{_HUB}/google/xquad/resolve/51adfef1c1287aab1d2d91b5bead9bcfb9c68583/xquad.ar/"),
    "belebele": (122, 122, f"{_HUB}/facebook/belebele/resolve/75b399394a9803252cfec289d103de462763db7c/data/acm_Arab"),
    "squad-translate": (11, 11, "https://storage.googleapis.com/xtreme_translations/SQuAD/translate-train/squad.trans"),
    "mmarco": (14, 1 + 2 * 14, "https://msmarco.z22.web.core.windows.net/msmarcoranking/qrels.train.tsv"),
    "squadshifts": (1, 4, f"{_GITHUB}/modestyachts/squadshifts-website/master/datasets/new_wiki_v1.0.json"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_files_of_all_languages_are_pinned(name):
    source, (languages, number, url) = SOURCES[name], PINNED[name]
    assert len(source.languages) == languages
    assert len(source.files) == len({file.path for file in source.files}) == number
    assert source.files[0].url.startswith(url)
    checksums = [file.checksum for file in source.files if file.checksum]
    # The hub publishes no checksums for two sources, so the commit in the URL pins their files.
    assert len(set(checksums)) == len(checksums) == (0 if name in ("xquad", "belebele") else number)
    commits = re.findall(r"\b[0-9a-f]{7,40}\b", source.revision)
    for file in source.files:
        assert file.url.endswith(file.path.removeprefix(f"{name}/"))
        assert "msmarcoranking" in file.url or not commits or any(f"/{commit}" in file.url for commit in commits)


def test_sizes_are_those_of_which_the_sum_is_published():
    # The sums are in tensorflow-datasets, and the `download_size` of dataset_infos.json.
    for name, size in (("squad-translate", 2_377_153_355), ("squadshifts", 16_505_623)):
        assert sum(file.size for file in SOURCES[name].files) == size


def test_real_files_have_the_pinned_sizes_and_checksums(real_data):
    here = [file for source in SOURCES.values() for file in source.files if (real_data / file.path).exists()]
    assert len(here) >= 11 + 72 + 36  # XQuAD-R, Tatoeba, and the topics and judgements of MIRACL
    for file in here:
        assert file.size in (None, (real_data / file.path).stat().st_size)
        if (file.size or 0) < 10**7:  # larger ones take long
            fetch(file, "here")  # which refuses another checksum


# --- files that are not there or not as published


@pytest.mark.parametrize("name", SOURCES)
def test_local_data_that_lacks_a_file_or_has_another_is_refused(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HYBRIDLIB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"{name}/.+ of {name} does not exist; get it from https://"):
        read(name)
    for file in SOURCES[name].files:
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).write_bytes(b"x")
    # The files of two sources have no checksum. Another size is refused if the size is known, and else another format.
    unpinned = "(has 1 bytes|is truncated|, line 1: not JSON)"
    message = unpinned if name in ("xquad", "belebele") else "differs from the published file: its (sha256|md5) is"
    with pytest.raises(ValueError, match=rf"{name}/.+{message}"):
        read(name)


# --- arguments


@pytest.mark.parametrize("name", ["miracl", "xquad", "belebele", "squad-translate", "mmarco", "squadshifts"])
def test_languages_that_cannot_be_are_refused_with_those_that_can(name):
    first, *_ = known = SOURCES[name].languages
    for languages, beginning in (
        ([first, "eng_Latn"], f"languages: 'eng_Latn' is not in {name}; allowed: "),
        ([], f"languages names none; allowed in {name}: "),
    ):
        with pytest.raises(ValueError, match=beginning) as caught:
            read(name, languages=languages)
        assert sorted(str(caught.value).removeprefix(beginning).split(", ")) == list(known)
    with pytest.raises(ValueError, match=rf"languages \['{first}', '{first}'\] names one twice"):
        read(name, languages=[first, first])


@pytest.mark.parametrize(
    ("load", "name", "split", "message"),
    [
        (load_corpus, "squad-translate", "test", "split is 'test'; allowed: train$"),
        (load_corpus, "squadshifts", "train", "split is 'train'; allowed: validation$"),
        (load_corpus, "mmarco", "test", "split is 'test'; allowed: train, validation$"),
        (load_task, "mlqa-r", "test", "split is 'test'; mlqa-r has none: allowed is None$"),
    ],
)
def test_splits_that_do_not_exist_are_refused(load, name, split, message):
    with pytest.raises(ValueError, match=message):
        load(name, split)


# --- files that are published, and at fault

_ANSWER = b'[{"answer_start": 25, "text": "honey"}]'
_BREAKS = b"[[0, 16], [17, 31]]"
_LAREQA_FORMAT = " is truncated or not a file in LAReQA's format: "
_BLOCK = ": article 'Bear', paragraph 0"
_NINE = passage("9#0")
_MANY = [_NINE, *(passage(f"{i}#0", str(np.random.default_rng(i).random(20))) for i in range(10, 400))]
_TWO = b"2#0\tQ0\t9#0\t1"
_SIX, _COLLECTION = b"\n6\tpassage", "data/google/collections/german_collection.tsv"

# Each row has a change of a file (the whole content, or a text and another that takes its place), and the message after
# the path.
AT_FAULT = {
    ("xquad-r", "en.json"): [
        (b'{"data": [{"title": "Bear", "parag', f"{_LAREQA_FORMAT}JSONDecodeError"),
        (b"<html>404: Not Found</html>", f"{_LAREQA_FORMAT}JSONDecodeError"),
        (b"", f"{_LAREQA_FORMAT}JSONDecodeError"),
        ('{"data": "ä"}'.encode("latin-1"), f"{_LAREQA_FORMAT}UnicodeDecodeError"),
        (b"[1, 2]", f"{_LAREQA_FORMAT}TypeError"),
        (b'"data"', f"{_LAREQA_FORMAT}TypeError"),
        (b"{}", rf"{_LAREQA_FORMAT}KeyError\('data'\)"),
        (b'{"data": 5}', f"{_LAREQA_FORMAT}TypeError"),
        (b'{"data": [{"title": "Bear"}]}', rf"{_LAREQA_FORMAT}KeyError\('paragraphs'\)"),
        (b'{"data": []}', " holds no paragraph"),
        (b'{"data": {}}', " holds no paragraph"),
        (
            b'{"data": [{"paragraphs": [{}]}]}',
            r": article None, paragraph 0 is not in LAReQA's format: KeyError\('title'\)",
        ),
        (b'{"data": [{"title": "Bear", "paragraphs": [5]}]}', f"{_BLOCK} is not in LAReQA's format"),
        (
            (b"sentence_breaks", b"s"),
            f"{_BLOCK} lacks 'sentence_breaks'; the copies of XQuAD without them cannot be used",
        ),
        ((b"context", b"c"), rf"{_BLOCK} is not in LAReQA's format: KeyError\('context'\)"),
        ((b"qas", b"q"), rf"{_BLOCK} is not in LAReQA's format: KeyError\('qas'\)"),
        ((b"31]]", b"32]]"), f"{_BLOCK}: sentence breaks .* do not fit a text of 31 charact"),
        ((_BREAKS, b"[[-1, 5]]"), f"{_BLOCK}: sentence breaks .* do not fit"),
        ((_BREAKS, b"[[5, 5]]"), f"{_BLOCK}: sentence breaks .* do not fit"),
        ((_BREAKS, b"[]"), f"{_BLOCK}: sentence breaks .* do not fit"),
        ((_BREAKS, b"[[0, 5, 9]]"), f"{_BLOCK}: sentence breaks .* do not fit"),
        ((_BREAKS, b'[["a", "b"]]'), f"{_BLOCK}: sentence breaks .* do not fit"),
        ((_BREAKS, b"7"), f"{_BLOCK}: sentence breaks 7 do not fit"),
        ((b'"id": "b"', b'"i": "b"'), rf"{_BLOCK} is not in LAReQA's format: KeyError\('id'\)"),
        ((b'"question": "b?"', b'"q": "b?"'), rf"{_BLOCK} is not in LAReQA's format: KeyError\('question'\)"),
        ((b'"text": "honey"', b'"t": "honey"'), rf"{_BLOCK} is not in LAReQA's format: KeyError\('text'\)"),
        ((_ANSWER, b"[9]"), f"{_BLOCK} is not in LAReQA's format: TypeError"),
        ((_ANSWER + b"}", _ANSWER + b'}, "why?"'), f"{_BLOCK} is not in LAReQA's format: TypeError"),
        ((b'"b?", "answers"', b'"b?", "a"'), ": question 'b' has no answer"),
        ((_ANSWER, b"[]"), ": question 'b' has no answer"),
        # In "The bear sleeps. It eats honey." honey stands at 17 + 8 = 25, which is 6 before the end.
        ((b'"honey"', b'"money"'), ": question 'b': its answer 'money' does not stand at character 25 of its par"),
        ((b"25", b"-6"), ": question 'b': its answer 'honey' does not stand at character -6"),
        ((b"25", b'"9"'), ": question 'b': its answer 'honey' does not stand at character 9 of its"),
        ((b"25", b"999"), ": question 'b': its answer 'honey' does not stand at character 999"),
        ((_BREAKS, b"[[0, 16]]"), ": question 'b': its answer at character 25 lies in no sentence"),
        ((b'"id": "b"', b'"id": "a"'), ": question 'a' comes twice"),
    ],
    ("squad-translate", "train-v1.1.json"): [
        ((b'"id": "c"', b'"id": "a"'), ": question 'a' comes twice"),
        ((b'"question": "b?"', b'"question": " "'), ": question 'b' or its paragraph is empty"),
        ((b'"Cats sleep all day. Dogs do not."', b'" "'), ": question 'c' or its paragraph is empty"),
        ((b'"id": "a"', b'"i": "a"'), r": paragraph 0 is not in SQuAD's format: KeyError\('id'\)"),
        (articles(), " holds no question"),
        (b'{"data": [{"title": "T", "parag', " is truncated or not a file in SQuAD's format: JSONDecodeError"),
        ((b"Dogs", b"Dog\xe9"), " is truncated or not a file in SQuAD's format: UnicodeDecodeError"),
    ],
    ("squadshifts", "reddit_v1.0.json"): [
        (b'{"data": [{}]}', " is truncated or not a file in SQuAD's format: KeyError"),
    ],
    ("xquad", xquad_path("de")): [
        (xquad([*GERMAN[:2], GERMAN[0]]), ", row 3: question 'a#1' comes twice"),
        (xquad([GERMAN[0], ("b", " ", "Wo?"), GERMAN[2]]), ", row 2: the passage is empty"),
        (xquad([GERMAN[0], ("b", "Rom.", ""), GERMAN[2]]), ", row 2: the question is empty"),
        (xquad([GERMAN[0], ("b", "Rom.", None), GERMAN[2]]), ", row 2: the question is empty or no text"),
        (xquad([GERMAN[0], (None, "Rom.", "Wo?"), GERMAN[2]]), ", row 2: the key is empty or no text"),
        (xquad(GERMAN[:2]), " has 2 questions; the published file has 3"),
        (xquad(GERMAN)[:-100], " is truncated or not a file of XQuAD"),
        (
            xquad(GERMAN, pa.schema([field for field in SCHEMA if field.name != "context"])),
            " is truncated or not a file of XQuAD: .*context",
        ),
    ],
    ("belebele", "data/deu_Latn.jsonl"): [
        (belebele(GERMAN)[:-30], ", line 3: not JSON: "),
        ((b"Welche?", b"Welch\xff?"), ", line 2: not UTF-8: .* at byte "),
        (b"[1]\n", ", line 1: 'link' is missing or not of the type str"),
        ((b'flores_passage": "Oslo', b'passage": "Oslo'), ", line 3: 'flores_passage' is missing"),
        ((b'number": 2', b'number": "2"'), ", line 2: 'question_number' is missing or not of the type int"),
        ((b"Oslo ist kalt.", b" "), ", line 3: the passage is empty"),
        ((b"Welche?", b""), ", line 2: the question is empty"),
        ((b'number": 2', b'number": 1'), ", line 2: question 'a#1' comes twice"),
        (belebele(GERMAN[:2]), " has 2 questions; the published file has 3"),
        (b"", " has 0 questions; the published file has 3"),
    ],
    ("tatoeba", "tatoeba.deu-eng.deu"): [
        ((b"Danke.", b" "), ", line 2: the sentence is empty"),
        (b"", ", line 1: the sentence is empty"),
        ((b"Danke.", "Grüße.".encode("latin-1")), ", line 2: not UTF-8: .* at byte 3"),
    ],
    ("tatoeba", "tatoeba.deu-eng.eng"): [((b"yesterday.\n", b"yesterday.\n\n"), ", line 4: the sentence is empty")],
    ("mmarco", "qrels.train.tsv"): [
        (
            (b"103\t0\t6\t1", b"103 0 6 1"),
            ", line 4: expected query, 0, passage and relevance, .* not b'103 0 6 1.n'",
        ),
        ((b"103\t0\t6\t1", b"103\t0\t6"), ", line 4: expected query, 0"),
        ((b"103\t0\t6\t1", b"102\t0\t4\t1"), ", line 4: query 102 and passage 4 come twice"),
        ((b"103\t0\t6\t1", b"103\t0\t7\t1"), r", line 4: passage 7 is not in .*collection\.tsv"),
        ((b"103\t0\t6\t1", b"99\t0\t6\t1"), r", line 4: query 99 is not in .*german_queries\.train\.tsv"),
        (b"", " holds no judgement"),
    ],
    # Passages go down from 2998, on line 1; the judged one 6 is on line 1497.
    ("mmarco", _COLLECTION): [
        ((_SIX, b"\n6 passage"), ", line 1497: 1 columns; expected 2, id and text"),
        ((_SIX, b"\n6\tpas\tsage"), ", line 1497: 3 columns"),
        ((_SIX, b"\n6\tpass\xff"), ", line 1497: not UTF-8"),
        ((_SIX, b"\n6\t \n5\tpassage"), ", line 1497: the text of 6 is empty"),
        ((_SIX, b"\n8\tpassage"), ", line 1497: id 8 comes twice"),
    ],
    ("mmarco", "collectionandqueries.tar.gz"): [
        (MADE["mmarco"]["collectionandqueries.tar.gz"][:-3000], r" is truncated or lacks collection\.tsv"),
        (packed("other.tsv", b""), r" is truncated or lacks collection\.tsv: .*collection\.tsv"),
    ],
    ("miracl", "topics.miracl-v1.0-th-dev.tsv"): [
        ((b"\tlini", b" lini"), ", line 2: 1 columns between tabs; expected 2"),
        ((b"lini?", b"lini?\t"), ", line 2: 3 columns between tabs; expected 2"),
        ((b"2#0", b"1#0"), ", line 2: topic '1#0' comes twice"),
        ((b"2#0", b""), ", line 2: the id of the topic is empty"),
        ((b"lini?", b" "), ", line 2: the text of the topic is empty"),
        ((b"2#0", b"\n2#0"), ", line 2: 1 columns between tabs"),
        (b"", ", line 1: 1 columns between tabs"),
        ((b"lini?", "linä?".encode("latin-1")), ", line 2: not UTF-8"),
    ],
    ("miracl", "qrels.miracl-v1.0-th-dev.tsv"): [
        ((_TWO, b"2#0\tQ0\t9#0"), ", line 3: 3 columns between tabs; expected 4"),
        ((_TWO, b"3#0\tQ0\t9#0\t1"), ", line 3: topic '3#0' does not exist"),
        ((_TWO, b"2#0\tQ0\t9#7\t1"), ", line 3: passage '9#7' does not exist"),
        ((_TWO, b"2#0\tQ0\t9#7\t0"), ", line 3: passage '9#7' does not exist"),
        ((_TWO, b"2#0\tQ0\t9#0\t2"), ", line 3: relevance is '2'; allowed: 0, 1"),
        ((_TWO, b"2#0\tQ0\t9#0\t"), ", line 3: relevance is ''; allowed: 0, 1"),
        ((_TWO, b"1#0\tQ0\t7#0\t0"), ", line 3: topic '1#0' and passage '7#0' are judged twice"),
    ],
    ("miracl", "miracl-corpus-v1.0-th/docs-1.jsonl.gz"): [
        (gz(_NINE, ""), ", line 2: not JSON: Expecting value at character 1"),
        (gz(_NINE, "{'docid': 1}"), ", line 2: not JSON"),
        (gz(_NINE, "[1]"), ", line 2: 'docid' is missing or not of the type str"),
        (gz(_NINE, '{"docid": "8#0", "text": "a"}'), ", line 2: 'title' is missing or not of the type str"),
        (gz(_NINE, passage(8)), ", line 2: 'docid' is missing or not of"),
        (gz(_NINE, passage("8 0")), ", line 2: docid '8 0' is empty or holds white space"),
        (gz(_NINE, passage("")), ", line 2: docid '' is empty or holds white space"),
        (gz(_NINE, passage("8#0", " ", "\n")), ", line 2: passage '8#0' is empty"),
        (gz(_NINE, passage("8#0", "\ud83d")), ", line 2: passage '8#0' holds half a surrogate pair"),
        (gz(_NINE, passage("8#0"), _NINE), ", line 3: docid '9#0' comes twice; .*docs-1.*, line 1$"),
        (gz(_NINE, passage("7#1")), r", line 2: docid '7#1' comes twice; .*docs-0\.jsonl\.gz, line 2$"),
        (gz(*_MANY)[:-200], r", line 3\d\d: truncated or no gzip file: Compressed file ended before"),
        (gz(*_MANY)[:-5], ", line 392: truncated or no gzip file: Compressed file ended before"),
        (gz(*_MANY)[:-8] + bytes(8), ", line 392: truncated or no gzip file: CRC check failed"),
        ("\n".join(_MANY).encode(), ", line 1: truncated or no gzip file: Not a gzipped file"),
        (gz(), " holds no passage"),
        (gz('{"docid": "9#0", "title": "", "text": "ä"}', encoding="latin-1"), ", line 1: not UTF-8: .* at byte 40"),
        (gz(_NINE, encoding="utf-8-sig"), ", line 1: not JSON: Unexpected UTF-8 BOM"),
        (gz(_NINE, encoding="utf-16"), ", line 1: not UTF-8"),
    ],
}


@pytest.mark.parametrize(
    ("name", "path", "change", "message"),
    [
        pytest.param(name, path, *case, id=f"{name}/{path}{case[1]}")
        for (name, path), cases in AT_FAULT.items()
        for case in cases
    ],
)
def test_a_file_at_fault_is_refused_by_its_name_and_the_place(made, name, path, change, message):
    made(name, {path: change})
    with pytest.raises(ValueError, match=re.escape(f"{name}/{path}") + message):
        read(name)
