"""Every source: its pinned files, the arguments that it refuses, and each way in which its files can be at fault."""

import gzip
import re
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from made_sources import (
    GERMAN,
    MADE,
    RAIN,
    SCHEMA,
    articles,
    belebele,
    gz,
    packed,
    paragraph,
    passage,
    read,
    xquad,
    xquad_path,
)

from hybridlib.data.folds import articles_of
from hybridlib.data.load import SOURCES, load_corpus, load_task
from hybridlib.data.sources import lareqa, miracl, mmarco, squad, tatoeba
from hybridlib.data.sources.source import fetch
from hybridlib.study.cli.data import data_info, fetch_data

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
    unpinned = "(has 1 bytes|cannot be read|, line 1: the line is not JSON)"
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


PATH = "the path of a file or a folder"


@pytest.mark.parametrize(
    ("read", "given", "message"),
    [
        (lareqa.read_lareqa, [{}], "files is {}; allowed: at least 1 item"),
        (lareqa.read_lareqa, [None], "files is None; allowed: a name and a value for each"),
        (lareqa.read_lareqa, ["en.json"], "files is 'en.json'; allowed: a name and a value for each"),
        (lareqa.read_lareqa, [{"en": ""}], f"files.en is ''; allowed: {PATH}"),
        (lareqa.read_lareqa, [{1: "en.json"}], "files.1 is 1; allowed: a text"),
        (partial(lareqa.read_lareqa, paragraphs="no"), [{"en": "x"}], "paragraphs is 'no'; allowed: True or False"),
        (partial(lareqa.read_xquad_r, paragraphs=1), [], "paragraphs is 1; allowed: True or False"),
        (lareqa.task_from_lareqa, [None], "data is None; allowed: an instance of LareqaData"),
        (lareqa.read_task, ["xquad"], "name is 'xquad'; allowed: 'xquad-r' or 'mlqa-r'"),
        (partial(lareqa.read_task, fold=True), ["xquad-r"], "fold is True; allowed: a whole number"),
        (partial(lareqa.read_task, fold=4), ["xquad-r"], "fold is 4; allowed: 0 to 3"),
        (partial(articles_of, held_out=True), ["0"], "fold is '0'; allowed: a whole number"),
        (partial(miracl.read_task, languages=["sw", None]), ["miracl"], "languages.1 is None; allowed: a text"),
        (partial(miracl.read_task, languages=3), ["miracl"], "languages is 3; allowed: a list"),
        (partial(mmarco.read_corpus, split=None, languages=None), ["mmarco"], "split is None; allowed: a text"),
        (squad.read_questions, [""], f"path is ''; allowed: {PATH}"),
        (squad.read_questions, [None], f"path is None; allowed: {PATH}"),
        (data_info, [["xquad"]], "name is ['xquad']; allowed: a text"),
        (data_info, ["miracl/sw"], "name is 'miracl/sw'; allowed: xquad-r, mlqa-r, "),
        (fetch_data, [None], "name is None; allowed: a text"),
        (fetch_data, ["x" * 1000], "name is 'xxx"),
    ],
)
def test_arguments_that_cannot_be_are_refused_by_name(read, given, message):
    with pytest.raises(ValueError) as raised:
        read(*given)
    assert str(raised.value).startswith(message)
    assert len(str(raised.value)) < 500


def test_one_language_alone_and_numbers_of_numpy_are_taken(made):
    made("tatoeba")
    assert tatoeba.read_task("tatoeba", languages="de").languages == ["de", "en"]
    assert articles_of(np.int64(1), held_out=True) == articles_of(1, held_out=True)


# --- files that are published, and at fault

_ANSWER = b'[{"answer_start": 25, "text": "honey"}]'
_BREAKS = b"[[0, 16], [17, 31]]"
_ONE = "data.0.paragraphs.0"
_HTML = b"<html>404: Not Found</html>"
_NO_TEXTS = (b"null", b"true", b'""', b'"\\ud800"', b"1.5", b"[]")
_DEEP, _LONG = b"[" * 200_000, b'{"data": ' + b"1" * 5000 + b"}"
_NINE = passage("9#0")
_MANY = [_NINE, *(passage(f"{i}#0", str(np.random.default_rng(i).random(20))) for i in range(10, 400))]
_TWO = b"2#0\tQ0\t9#0\t1"
_SIX, _COLLECTION = b"\n6\tpassage", "data/google/collections/german_collection.tsv"
_TEXT, _LIST = "allowed: a text", "allowed: a list"
_BREAK = "allowed: the begin and the end of a sentence that is not empty, behind the one before, in the 31 characters"

# Each row has a change of a file (the whole content, or a text and another that takes its place), and the message after
# the path.
AT_FAULT = {
    ("xquad-r", "en.json"): [
        (b'{"data": [{"title": "Bear", "parag', " is not JSON: Unterminated string"),
        (_HTML, " is not JSON: "),
        (b"", " is not JSON: "),
        (_DEEP, " is nested too deeply$"),
        (_LONG, " is not JSON: Exceeds the limit"),
        (gzip.compress(b"[1, 2]")[:-9], " cannot be read: Truncated compressed stream"),
        ('{"data": "ä"}'.encode("latin-1"), " is not UTF-8: its byte 10 is 0xe4$"),
        ("[]".encode("utf-16"), " is not UTF-8: its byte 0 is 0xff$"),
        (b"[1, 2]", ": allowed: a name and a value for each"),
        (b'"data"', ": allowed: a name and a value for each"),
        (b"{}", ": 'data' is missing"),
        (b'{"data": 5}', f": data is 5; {_LIST}"),
        (b'{"data": {}}', f": data is {{}}; {_LIST}"),
        (b'{"data": [{"title": "Bear"}]}', ": 'data.0.paragraphs' is missing"),
        (b'{"data": []}', " holds no paragraph"),
        (b'{"data": [{"title": "Bear", "paragraphs": []}]}', " holds no paragraph"),
        (b'{"data": [{"paragraphs": [{}]}]}', ": 'data.0.title' is missing\n"),
        (b'{"data": [{"title": "Bear", "paragraphs": [5]}]}', f": {_ONE} is 5; allowed: a name and a value"),
        ((b'"Bear"', b"null"), f": data.0.title is None; {_TEXT}$"),
        ((b'"Bear"', b'""'), f": data.0.title is ''; {_TEXT} that is not empty$"),
        ((b"sentence_breaks", b"s"), f": '{_ONE}.sentence_breaks' is missing$"),
        ((b"context", b"c"), f": '{_ONE}.context' is missing$"),
        ((b"qas", b"q"), f": '{_ONE}.qas' is missing$"),
        ((b"31]]", b"32]]"), rf": {_ONE}.sentence_breaks.1 is \[17, 32\]; {_BREAK}"),
        ((b"[17", b"[15"), rf": {_ONE}.sentence_breaks.1 is \[15, 31\]; {_BREAK}"),  # they overlap
        ((b"[17, 31]", b"[0, 16]"), rf": {_ONE}.sentence_breaks.1 is \[0, 16\]; {_BREAK}"),
        ((b"[17, 31]", b"[16, 17], [17, 31]"), rf": {_ONE}.sentence_breaks.1 is \[16, 17\]; {_BREAK}"),  # a blank
        ((_BREAKS, b"[[-1, 5]]"), rf": {_ONE}.sentence_breaks.0 is \[-1, 5\]; {_BREAK}"),
        ((_BREAKS, b"[[5, 5]]"), rf": {_ONE}.sentence_breaks.0 is \[5, 5\]; {_BREAK}"),
        (
            (b'"qas"', b'"sentences": ["The bear sleeps."], "qas"'),
            f": {_ONE}.sentences are 1; allowed: 2, as many as s",
        ),
        ((b'"qas"', b'"sentences": 7, "qas"'), f": {_ONE}.sentences is 7; {_LIST}"),
        ((b'"b?"', '"\ufeff"'.encode()), f": {_ONE}.qas.1.question is '.*'; {_TEXT} that is not empty$"),
        ((_BREAKS, b"[]"), rf": {_ONE}.sentence_breaks is \[\]; allowed: at least 1 item"),
        ((_BREAKS, b"[[0, 5, 9]]"), rf": {_ONE}.sentence_breaks.0 is \[0, 5, 9\]; allowed: at most 2 items"),
        ((_BREAKS, b'[["a", "b"]]'), f": {_ONE}.sentence_breaks.0.0 is 'a'; allowed: a whole number"),
        ((_BREAKS, b"[[false, true]]"), f": {_ONE}.sentence_breaks.0.0 is False; allowed: a whole number"),
        ((_BREAKS, b"7"), f": {_ONE}.sentence_breaks is 7; {_LIST}"),
        ((b'"id": "b"', b'"i": "b"'), f": '{_ONE}.qas.1.id' is missing$"),
        *(((b'"id": "b"', b'"id": ' + key), f": {_ONE}.qas.1.id is .*; {_TEXT}") for key in _NO_TEXTS),
        *(((b'"b?"', text), f": {_ONE}.qas.1.question is .*; {_TEXT}") for text in (*_NO_TEXTS, b"3")),
        ((b'"question": "b?"', b'"q": "b?"'), f": '{_ONE}.qas.1.question' is missing$"),
        ((b'"text": "honey"', b'"t": "honey"'), f": '{_ONE}.qas.1.answers.0.text' is missing$"),
        ((b'"honey"', b'" "'), f": {_ONE}.qas.1.answers.0.text is ' '; {_TEXT} that is not empty$"),
        ((_ANSWER, b"[9]"), f": {_ONE}.qas.1.answers.0 is 9; allowed: a name and a value"),
        ((_ANSWER + b"}", _ANSWER + b'}, "why?"'), f": {_ONE}.qas.2 is 'why\\?'; allowed: a name and a value"),
        ((b'"b?", "answers"', b'"b?", "a"'), f": '{_ONE}.qas.1.answers' is missing$"),
        ((_ANSWER, b"[]"), rf": {_ONE}.qas.1.answers is \[\]; allowed: at least 1 item$"),
        # In "The bear sleeps. It eats honey." honey stands at 17 + 8 = 25, which is 6 before the end.
        ((b'"honey"', b'"money"'), ": question 'b': its answer 'money' does not stand at character 25 of its par"),
        ((b"25", b"-6"), ": question 'b': its answer 'honey' does not stand at character -6"),
        ((b"25", b'"9"'), ": question 'b': its answer 'honey' does not stand at character 9 of its"),
        ((b"25", b"999"), ": question 'b': its answer 'honey' does not stand at character 999"),
        ((b"25", b"25.0"), f": {_ONE}.qas.1.answers.0.answer_start is 25.0; allowed: a whole number$"),
        ((_BREAKS, b"[[0, 16]]"), ": question 'b': its answer at character 25 lies in no sentence"),
        ((b'"id": "b"', b'"id": "a"'), ": question 'a' comes twice"),
        ((b'"id": "b"', b'"id": "a", "id": "b"'), " is not JSON: the key 'id' comes twice$"),
        (articles(("Bear", [paragraph(["It sleeps."])])), ": there is no question$"),
    ],
    ("squad-translate", "train-v1.1.json"): [
        ((b'"id": "c"', b'"id": "a"'), ": question 'a' comes twice"),
        ((b'"question": "b?"', b'"question": " "'), f": {_ONE}.qas.1.question is ' '; {_TEXT} that is not empty$"),
        ((b'"question": "b?"', b'"question": 3'), f": {_ONE}.qas.1.question is 3; {_TEXT}$"),
        ((b'"Cats sleep all day. Dogs do not."', b'" "'), f": data.0.paragraphs.1.context is ' '; {_TEXT}"),
        ((b'"id": "a"', b'"i": "a"'), f": '{_ONE}.qas.0.id' is missing$"),
        *(((b'"id": "a"', b'"id": ' + key), f": {_ONE}.qas.0.id is .*; {_TEXT}") for key in _NO_TEXTS),
        (articles(), " holds no paragraph"),
        (articles(("T", [paragraph(RAIN)])), " holds no question"),
        (b'{"data": [{"title": "T", "parag', " is not JSON: Unterminated string"),
        ((b"Dogs", b"Dog\xe9"), r" is not UTF-8: its byte \d+ is 0xe9$"),
    ],
    ("squadshifts", "reddit_v1.0.json"): [
        (b'{"data": [{}]}', ": 'data.0.paragraphs' is missing$"),
        (_DEEP, " is nested too deeply$"),
    ],
    ("xquad", xquad_path("de")): [
        (xquad([*GERMAN[:2], GERMAN[0]]), ": key: row 2 is 'a#1'; allowed: each once$"),
        (xquad([GERMAN[0], ("b", " ", "Wo?"), GERMAN[2]]), f": passage: row 1 is ' '; {_TEXT} that is not empty$"),
        (xquad([GERMAN[0], ("b", "Rom.", ""), GERMAN[2]]), f": question: row 1 is ''; {_TEXT} that is not empty$"),
        (xquad([GERMAN[0], ("b", "Rom.", None), GERMAN[2]]), f": question: row 1 is (nan|None); {_TEXT}"),
        (xquad([GERMAN[0], (None, "Rom.", "Wo?"), GERMAN[2]]), f": key: row 1 is (nan|None); {_TEXT}"),
        (xquad([(1, "Rom.", "Wo?")] * 3, SCHEMA.set(0, pa.field("id", pa.int64()))), f": key: row 0 is 1, .*; {_TEXT}"),
        (xquad(GERMAN[:2]), " has 2 questions; the published file has 3"),
        (xquad(GERMAN)[:-100], " cannot be read: "),
        (
            xquad(GERMAN, pa.schema([field for field in SCHEMA if field.name != "context"])),
            " lacks the column 'context'",
        ),
        (_HTML, " cannot be read: "),
        (b"", " cannot be read: "),
    ],
    ("belebele", "data/deu_Latn.jsonl"): [
        (belebele(GERMAN)[:-30], ", line 3: the line is not JSON: "),
        ((b"Welche?", b"Welch\xff?"), ", line 2: not UTF-8: .* at byte "),
        (b"[1]\n", ", line 1: allowed: a name and a value"),
        (_DEEP, ", line 1: the line is nested too deeply$"),
        (_LONG, ", line 1: the line is not JSON: Exceeds the limit"),
        ((b'flores_passage": "Oslo', b'passage": "Oslo'), ", line 3: 'flores_passage' is missing"),
        ((b'number": 2', b'number": "2"'), ", line 2: question_number is '2'; allowed: a whole number$"),
        ((b'number": 2', b'number": true'), ", line 2: question_number is True; allowed: a whole number$"),
        ((b"Oslo ist kalt.", b" "), f", line 3: flores_passage is ' '; {_TEXT} that is not empty$"),
        ((b"Welche?", b""), f", line 2: question is ''; {_TEXT} that is not empty$"),
        ((b'"Welche?"', b"null"), f", line 2: question is None; {_TEXT}$"),
        ((b'"Welche?"', b'"W", "question": "W"'), ", line 2: the line is not JSON: the key 'question' comes twice$"),
        ((b'number": 2', b'number": 1'), ": key: row 1 is 'a#1'; allowed: each once$"),
        (belebele(GERMAN[:2]), " has 2 questions; the published file has 3"),
        (b"", " is empty$"),
        (gzip.compress(belebele(GERMAN))[:-20], " cannot be read: Truncated compressed stream$"),
    ],
    ("tatoeba", "tatoeba.deu-eng.deu"): [
        ((b"Danke.", b" "), ", line 2: the sentence is empty"),
        ((b"Danke.", b"\r"), ", line 2: the sentence is empty"),
        (b"", " is empty$"),
        (b"\xef\xbb\xbf", ", line 1: the sentence is empty$"),
        ((b"Danke.", "Grüße.".encode("latin-1")), ", line 2: not UTF-8: .* at byte 3"),
    ],
    ("tatoeba", "tatoeba.deu-eng.eng"): [((b"yesterday.\n", b"yesterday.\n\n"), ", line 4: the sentence is empty")],
    ("mmarco", "qrels.train.tsv"): [
        (
            (b"103\t0\t6\t1", b"103 0 6 1"),
            ", line 4: the line is b'103 0 6 1'; allowed: query, 0, passage and relevance, with tabs between$",
        ),
        *(
            ((b"103\t0\t6\t1", b"103\t0\t" + rest), ", line 4: the line is .*; allowed: query, 0, passage and rel")
            for rest in (b"6", b"6\t1\t2", b"6\t-1", b"6_0\t1", b" 6\t1", b"9" * 5000 + b"\t1", b"6.0\t1")
        ),
        ((b"103\t0\t6\t1", b"102\t0\t4\t1"), ", line 4: query 102 and passage 4 come twice"),
        ((b"103\t0\t6\t1", b"103\t0\t7\t1"), r", line 4: passage 7 is not in .*collection\.tsv"),
        ((b"103\t0\t6\t1", b"99\t0\t6\t1"), r", line 4: query 99 is not in .*german_queries\.train\.tsv"),
        (b"", " is empty$"),
        (b"103\t0\t6\t0\n", " holds no judgement"),
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
        (MADE["mmarco"]["collectionandqueries.tar.gz"][:-3000], " cannot be read: Truncated compressed stream$"),
        (packed("other.tsv", b""), r" cannot be read: it has no file 'collection\.tsv'$"),
        (packed("collection.tsv", b""), r"/collection\.tsv is empty$"),
        (_HTML, " cannot be read: "),
        (b"", " cannot be read: "),
    ],
    ("miracl", "topics.miracl-v1.0-th-dev.tsv"): [
        ((b"\tlini", b" lini"), ", line 2: 1 columns between tabs; expected 2"),
        ((b"lini?", b"lini?\t"), ", line 2: 3 columns between tabs; expected 2"),
        ((b"2#0", b"1#0"), ", line 2: topic '1#0' comes twice"),
        ((b"2#0", b""), ", line 2: the id of the topic is empty"),
        ((b"lini?", b" "), ", line 2: the text of the topic is empty"),
        ((b"2#0", b"\n2#0"), ", line 2: 1 columns between tabs"),
        (b"", " is empty$"),
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
        (gz(_NINE, ""), ", line 2: the line is not JSON: Expecting value"),
        (gz(_NINE, "{'docid': 1}"), ", line 2: the line is not JSON"),
        (gz(_NINE, "[1]"), ", line 2: allowed: a name and a value"),
        (gz(_NINE, "[" * 2000), ", line 2: the line is nested too deeply$"),
        (gz(_NINE, '{"docid": "8#0", "text": "a"}'), ", line 2: 'title' is missing$"),
        (gz(_NINE, passage(8)), f", line 2: docid is 8; {_TEXT}$"),
        (gz(_NINE, passage("8 0")), ", line 2: docid '8 0' holds white space$"),
        (gz(_NINE, passage("")), f", line 2: docid is ''; {_TEXT} that is not empty$"),
        (gz(_NINE, passage("8#0", " ", "\n")), ", line 2: passage '8#0' is empty"),
        (
            gz(_NINE, passage("8#0", "\ud83d")),
            f", line 2: title is '.ud83d'; {_TEXT} without half of a surrogate pair$",
        ),
        (gz(_NINE, passage("8#0", None)), f", line 2: title is None; {_TEXT}$"),
        (gz(_NINE, passage("8#0"), _NINE), ", line 3: passage 'th:9#0' comes twice; .*docs-1.*, line 1$"),
        (gz(_NINE, passage("7#1")), r", line 2: passage 'th:7#1' comes twice; .*docs-0\.jsonl\.gz, line 2$"),
        (gz(*_MANY)[:-200], " cannot be read: Truncated compressed stream$"),
        (gz(*_MANY)[:-5], " cannot be read: Truncated compressed stream$"),
        (gz(*_MANY)[:-8] + bytes(8), " cannot be read: .*incorrect data check$"),
        (_HTML, ", line 1: the line is not JSON: "),
        (gz(), " is empty$"),
        (gz('{"docid": "9#0", "title": "", "text": "ä"}', encoding="latin-1"), ", line 1: not UTF-8: .* at byte 40"),
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
    with pytest.raises(ValueError, match=re.escape(f"{name}/{path}") + message) as raised:
        read(name)
    assert len(str(raised.value)) < 500 + 100  # of which the path of a file here is a hundred


# --- files that are as published but for how they are written


def _written(content: bytes, how: str) -> bytes:
    """Write a file in another way that says the same; an archive of made files is that of its only member."""
    archive = content.startswith(b"\x1f\x8b")
    content = gzip.decompress(content) if archive else content
    if how == "zstd":
        return pa.compress(content, "zstd", asbytes=True)
    if how == "mark and Windows" and not archive:
        return b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n")
    return content if how == "plain" else gzip.compress(content.removesuffix(b"\n") if not archive else content)


def _told(data):
    tables = [data.queries, data.passages, data.qrels] if hasattr(data, "queries") else [data.table]
    return [table.to_dict("list") if isinstance(table, pd.DataFrame) else table.to_dict() for table in tables]


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd", "mark and Windows"])
@pytest.mark.parametrize("name", [name for name in SOURCES if name != "xquad"])
def test_a_file_may_be_compressed_or_not_and_written_on_windows(made, name, how):
    made(name)
    expected = _told(read(name))
    made(name, {path: _written(content, how) for path, content in MADE[name].items()})
    assert _told(read(name)) == expected


@pytest.mark.parametrize("name", SOURCES)
def test_a_folder_in_place_of_a_file_is_said(made, name):
    folder = made(name)
    path = folder / next(iter(MADE[name]))
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=re.escape(f"{path} is a folder; expected a file")):
        read(name)
