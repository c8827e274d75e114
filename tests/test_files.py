"""Files that others have written are read, or refused by name."""

import gzip
import json
import math
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hybridlib.files import read_json, read_text, read_yaml
from hybridlib.paths import check_record


def zstd(content: bytes) -> bytes:
    return pa.compress(content, "zstd", asbytes=True)


def is_refused(read, path, message):
    """Check that a file is refused by its name, for this reason and in few words."""
    with pytest.raises(ValueError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path} {message}")
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("packed", [bytes, gzip.compress, zstd])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_text_is_read_with_or_without_a_mark_and_compressed(tmp_path, packed, mark):
    path = tmp_path / "a text"
    path.write_bytes(packed((mark + "größer\n").encode()))
    assert read_text(path) == "größer\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfeh\x00", "is not UTF-8: its byte 0 is 0xff"),
        (b"ab\x80" + b"x" * 100_000, "is not UTF-8: its byte 2 is 0x80"),
        (gzip.compress(b"x" * 100_000)[:-20], "cannot be read: "),
        (zstd(bytes(range(256)) * 100)[:-20], "cannot be read: "),
        (b"\x1f\x8b and no more", "cannot be read: "),
    ],
)
def test_a_damaged_text_is_refused_by_name_in_few_words(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    for read in (read_text, read_json, read_yaml):
        is_refused(read, path, message)


def test_what_is_no_file_is_said(tmp_path):
    with pytest.raises(ValueError, match=r" is a folder; expected a file$"):
        read_text(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nothing does not exist$"):
        read_json(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 200_000, "is nested too deeply"),
        ("{", "is not JSON: "),
        ("", "is not JSON: "),
        ('{"a": 1, "b": 2, "a": 3}', "is not JSON: the key 'a' comes twice"),
        ('{"a": NaN}', "is not JSON: NaN is no number of JSON"),
        ("1" * 5000, "is not JSON: Exceeds the limit"),
    ],
)
def test_bad_json_is_refused_by_name(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    is_refused(read_json, tmp_path / "x.json", message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: " + "[" * 2000, "is nested too deeply"),
        ("a: [", "is not YAML: "),
        ("a: 1\na: 2", "is not YAML: the key 'a' comes twice"),
        ("a: {b: 1, b: 2}", "is not YAML: the key 'b' comes twice"),
        ("1: a", "is not YAML: a key is 1; allowed: a text"),
        ("~: a", "is not YAML: a key is None; allowed: a text"),
        ("? [a]\n: b", "is not YAML: a key is ['a']; allowed: a text"),
        ("a: " + "1" * 5000, "is not YAML: '111"),
        ("a: !!python/object/apply:os.getcwd []", "is not YAML: could not determine a constructor"),
        ("a: \x00", "is not YAML: "),
        ("a: 1\nb: [1, &x 2]", "is not YAML: a value has the name 'x'; allowed: values without names (line 2)"),
        ("a: *x", "is not YAML: a value has the name 'x'; allowed: values without names (line 1)"),
        ("a: 1\n b: 2", "is not YAML: mapping values are not allowed here (line 2)"),
        ("a:\n- b: [1, !!bool 3]", "is not YAML: '3' cannot be read as !!bool (line 2, 'a.b')"),
        ("a:\n  b: !!int abc", "is not YAML: 'abc' cannot be read as !!int (line 2, 'a.b')"),
        ("a: !!timestamp 2001-99-99", "is not YAML: '2001-99-99' cannot be read as !!timestamp (line 1, 'a')"),
        ("a: !!" + "x" * 5000 + " 1", "is not YAML: could not determine a constructor"),
        ("a: &x" + "x" * 5000 + " 1", "is not YAML: a value has the name 'xxx"),
    ],
)
def test_bad_yaml_is_refused_by_name_and_line(tmp_path, content, message):
    (tmp_path / "x.yaml").write_text(content)
    is_refused(read_yaml, tmp_path / "x.yaml", message)


def test_a_few_names_that_stand_for_more_values_than_there_is_memory_are_refused_at_once(tmp_path):
    path = tmp_path / "x.yaml"
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 100))]
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"has the name 'a0'; allowed: values without names \(line 1\)$"):
        read_yaml(path)


def test_a_number_of_thousands_of_digits_is_refused_with_its_key(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: 1\nb: [" + "1" * 5000 + "]")
    with pytest.raises(ValueError, match=r"1' of 5,000 characters cannot be read as !!int \(line 2, 'b'\)$"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("true", True),
        ("010", 10),
        ("1:30", "1:30"),
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        (".5", 0.5),
        ("-3", -3),
        (".inf", math.inf),
        ("~", None),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("[no, en]", ["no", "en"]),
        ("'1'", "1"),
        (".", "."),
        ("-", [None]),
    ],
)
def test_values_of_yaml_are_those_of_version_1_2(tmp_path, text, value):
    path = tmp_path / "x.yaml"
    path.write_text(f"a:\n  {text}" if text == "-" else f"a: {text}")
    found = read_yaml(path)["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("content", ["null", "[]", "3", '"a"'])
def test_a_record_that_is_none_is_refused_by_name(tmp_path, content):
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"record\.json holds .*; expected names and values"):
        check_record(path, {"a": 1})


def test_a_record_of_others_is_refused_in_words_and_not_by_digests(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"passages": "a" * 64, "encoder": "b" * 40, "precision": "float32"}))
    with pytest.raises(ValueError) as raised:
        check_record(path, {"passages": "c" * 64, "encoder": "b" * 40, "precision": "bfloat16"})
    said = "was made from something else: passages is another; precision is float32 there and bfloat16 here. Name"
    assert str(raised.value).startswith(f"{tmp_path} {said}")


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=200))
@example(content=b"\x1f\x8b\x08")
@example(content=b"\x28\xb5\x2f\xfd\x00")
@example(content=b"%YAML 9.9\n---")
@example(content=b"a: !!int x")
@example(content=b"a: !!float x")
@example(content=b"a: !!timestamp x")
@example(content=b"a: !!binary x")
@example(content=b"a: !!set x")
@example(content=b"a: !!bool x")
@example(content=b"!!map [a]")
@example(content=b"<<: 3")
def test_any_bytes_are_read_or_refused_by_name(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "x"
    path.write_bytes(content)
    for read in (read_text, read_json, read_yaml):
        try:
            read(path)
        except ValueError as error:
            assert str(error).startswith(str(path))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(value=values)
def test_what_is_written_as_json_is_read_again(tmp_path_factory, value):
    path: Path = tmp_path_factory.mktemp("json") / "x.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    assert read_json(path) == value
