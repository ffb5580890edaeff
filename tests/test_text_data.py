"""Texts of other people are data within bounds, or refused in a sentence."""

import json
import math

import pytest

from jetseg.text_data import MOST_VALUES, MOST_YAML_CHARACTERS, TextDataError, parse_data, read_data

BOMB = "a: &a [1]\n" + "".join(f"{chr(98 + k)}: &{chr(98 + k)} [*{chr(97 + k)}, *{chr(97 + k)}]\n" for k in range(20))


def test_json_is_read_as_json():
    text = '{"a": 1e-05, "b": "\\ud83d\\ude80\\u007f", "c":\t1}'
    assert parse_data(text) == {"a": 1e-05, "b": "\U0001f680\x7f", "c": 1}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-05", 1e-05),
        ("-3", -3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("12:30", "12:30"),
        ("no", "no"),
        ("off", "off"),
        ("true", True),
        ("~", None),
        ("", None),
        ('"1"', "1"),
        ("!!str 1", "1"),
        ("!!int 7", 7),
        ("2026-01-31", "2026-01-31"),
        ("2024-13-45", "2024-13-45"),
        ("1_000", "1_000"),
        ("\U0001f680", "\U0001f680"),
        ("{1: a, no: b, [x]: c}", TextDataError),
        ("{1: a, no: b, ~: c}", {"1": "a", "no": "b", "~": "c"}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
    ],
)
def test_yaml_is_read_as_its_version_1_2(text, value):
    if value is TextDataError:
        with pytest.raises(TextDataError):
            parse_data(text)
    else:
        found = parse_data(text)
        assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "repeats a part by an alias"),
        ("a: &part {b: 1}\nc: *part", "repeats a part by an alias"),
        ("a: &a {b: *a}", "repeats a part by an alias"),
        ("[" * 60 + "]" * 60 + "x", "50 levels deep"),
        ("[" * 60 + "]" * 60, "50 levels deep"),
        ("[" * 50_000 + "]" * 50_000, "50 levels deep"),
        ("- " * 60 + "x", "50 levels deep"),
        ('a: !!int ""', "invalid literal"),
        ('a: !!bool ""', "''"),
        ("a: !!timestamp 2024-13-45", "which is no value of JSON"),
        ("a: !!python/object/apply:os.system [true]", "which is no value of JSON"),
        ("a: !!map [1]", "tagged as a mapping"),
        ("a: !!seq {b: 1}", "tagged as a list"),
        ("a: !!str [1]", "where a key or a single value belongs"),
        ("9" * 5000, "digits"),
        ("a: [", "while parsing"),
        ("a" * 4_000_001, "more than 4,000,000 characters"),
        ("[" + "1," * MOST_VALUES + "1]", "more than 100,000 values"),
    ],
)
def test_what_is_no_plain_data_is_refused(text, reason):
    with pytest.raises(TextDataError, match=reason):
        parse_data(text)


def test_many_values_in_yaml_are_refused_too():
    with pytest.raises(TextDataError, match="more than 5 values"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("jetseg.text_data.MOST_VALUES", 5)
        parse_data("a: [x, y, z, u]")


def test_a_file_is_bounded_before_it_is_read(tmp_path):
    path = tmp_path / "long.json"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(TextDataError, match="characters|utf-8"):
        read_data(path)


def test_a_byte_order_mark_is_no_fault_and_other_bytes_are_one(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a":\t1}')
    assert read_data(path) == {"a": 1}
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TextDataError, match="utf-8"):
        read_data(path)


@pytest.mark.fuzz
def test_damaged_texts_are_data_or_refused(trials):
    whole = 'classes: [sky, road]\ninput: {height: 90, width: 120, mean: [0.5, 1e-3]}\n# "x"\npalette: [[1, 2, 3]]\n'
    tags = (
        "!!int ",
        "!!float ",
        "!!map ",
        "!!seq ",
        "!!null ",
        "!!binary ",
        "!!set ",
        "!x ",
        "&a ",
        "*a ",
        "<<: ",
        "? ",
    )
    for draw in trials(2000):
        text = list(draw.choice((whole, json.dumps({"classes": ["a"], "input": {"height": 1e-5}}))))
        for _ in range(draw.randint(1, 6)):
            place = draw.randrange(len(text))
            text[place] = draw.choice(("{}[]&*!|>:,-\t\n\x00\"'%@`?0aé .eE_~", *tags)) * draw.randint(0, 3)
            if len(text[place]) > 20:
                text[place] = draw.choice(text[place])
        try:
            json.dumps(parse_data("".join(text)), sort_keys=True)
        except TextDataError:
            continue


def test_long_yaml_is_refused_before_it_is_read():
    items = [f"name{number}" for number in range(MOST_YAML_CHARACTERS // 10)]
    assert parse_data(json.dumps(items)) == items
    with pytest.raises(TextDataError, match=r"more than 400,000 characters of YAML; what is longer must be JSON"):
        parse_data("".join(f"- {item}\n" for item in items))
