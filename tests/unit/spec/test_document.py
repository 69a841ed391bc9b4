"""JSON documents are read within limits, and refused with line and column."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boxes.errors import ConfigError
from boxes.spec.document import dump, parse, pretty

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def refusal(data: bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(data, source="config.json")
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": [1, -2, 1.5, true, false, null, "x"]}', {"a": [1, -2, 1.5, True, False, None, "x"]}),
        (b" \t\r\n {} \n", {}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"18446744073709551615", 18446744073709551615),
        ('"é\\u00e9\\ud83d\\ude00"'.encode(), "éé😀"),
        (b"[" * 64 + b"]" * 64, json.loads("[" * 64 + "]" * 64)),
    ],
)
def test_valid_json_is_read_exactly(data: bytes, value: object) -> None:
    assert parse(data, source="config.json") == value


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "'config.json' is not valid JSON: expected a value at line 1, column 1"),
        (b"   ", "'config.json' is not valid JSON: expected a value at line 1, column 4"),
        (b'{\n  "a": }', "'config.json' is not valid JSON: expected a value at line 2, column 8"),
        (b'{"a": 1} x', "'config.json' is not valid JSON: unexpected text after the end at line 1, column 10"),
        (b'{"a": 1}{}', "'config.json' is not valid JSON: unexpected text after the end at line 1, column 9"),
        (b'{"a" 1}', "'config.json' is not valid JSON: expecting ':' delimiter at line 1, column 6"),
        (b'{"a": 1\n"b": 2}', "'config.json' is not valid JSON: expecting ',' delimiter at line 2, column 1"),
        (b'"abc', "'config.json' is not valid JSON: unterminated string at line 1, column 1"),
        (b'"a\nb"', "'config.json' is not valid JSON: invalid control character at line 1, column 3"),
        (b'"a\x00b"', "'config.json' is not valid JSON: invalid control character at line 1, column 3"),
        (b'"\\x"', "'config.json' is not valid JSON: invalid \\escape at line 1, column 2"),
        (b'{\n"a": "\xff"}', "'config.json' is not valid JSON: not UTF-8 at line 2, column 7"),
        ('{"é": "'.encode() + b'\xff"}', "'config.json' is not valid JSON: not UTF-8 at line 1, column 8"),
        (b"\xef\xbb\xbf{}", "'config.json' is not valid JSON: expected a value at line 1, column 1"),
        (b'"\xed\xa0\x80"', "'config.json' is not valid JSON: not UTF-8 at line 1, column 2"),
        (b"NaN", "'config.json' is not valid JSON: NaN is not a JSON value"),
        (b"[-Infinity]", "'config.json' is not valid JSON: -Infinity is not a JSON value"),
        (b"[1e400]", "'config.json' is not valid JSON: the number 1e400 is too large"),
        (b"9" * 5000, "'config.json' is not valid JSON: a number has too many digits"),
        (b"[" * 65 + b"]" * 65, "'config.json' is nested more than 64 deep"),
        (b"[" * 100_000, "'config.json' is nested more than 64 deep"),
        (b'{"a":' * 100_000, "'config.json' is nested more than 64 deep"),
        (b" " * (16 * 1024 * 1024 + 1), "'config.json' is too large: more than 16777216 bytes"),
    ],
)
def test_what_is_not_json_is_refused_with_its_place(data: bytes, text: str) -> None:
    assert refusal(data) == text


def test_syntax_errors_are_reported_when_the_json_package_was_never_imported() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from boxes.errors import ConfigError\nfrom boxes.spec.document import parse\n"
        "assert 'json' not in sys.modules\n"
        "try: parse(b'{x', source='c')\nexcept ConfigError as error: print(error)"
    )
    root = __import__("boxes").__path__[0].removesuffix("/boxes")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script, root], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (
        "'c' is not valid JSON: expecting property name enclosed in double quotes at line 1, column 2\n",
        "",
    )


@given(st.binary(max_size=200))
def test_no_bytes_lead_to_another_error(data: bytes) -> None:
    text = ""
    try:
        parse(data, source="config.json")
    except ConfigError as error:
        text = str(error)
    assert "\n" not in text


@given(JSON)
def test_both_written_forms_are_read_back(value: Any) -> None:
    assert parse(dump(value).encode("ascii"), source="dump") == value
    assert parse(pretty(value).encode("ascii"), source="pretty") == value


def test_dump_is_one_line_of_ascii_without_blanks() -> None:
    value = {"id": "é\n", "pid": 7, "annotations": {}, "list": [1, None, True]}
    assert dump(value) == '{"id":"\\u00e9\\n","pid":7,"annotations":{},"list":[1,null,true]}'


def test_pretty_indents_by_two_and_keeps_empty_values_on_their_line() -> None:
    assert pretty({"id": "é", "list": [1, {"a": None}], "none": [], "empty": {}}) == (
        "{\n"
        '  "id": "\\u00e9",\n'
        '  "list": [\n'
        "    1,\n"
        "    {\n"
        '      "a": null\n'
        "    }\n"
        "  ],\n"
        '  "none": [],\n'
        '  "empty": {}\n'
        "}"
    )


def test_what_json_cannot_say_is_not_written() -> None:
    with pytest.raises(TypeError, match="a value of type bytes has no JSON form"):
        dump({"a": b"x"})
    with pytest.raises(ValueError, match="Out of range float"):
        dump({"a": float("nan")})
