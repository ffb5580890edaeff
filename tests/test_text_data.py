"""Texts of other people are data within bounds, or refused in a sentence."""

import random

import pytest

from jetseg.text_data import TextDataError, parse_json_or_yaml, parse_yaml

BOMB = "a: &a [1]\n" + "".join(f"{chr(98 + k)}: &{chr(98 + k)} [*{chr(97 + k)}, *{chr(97 + k)}]\n" for k in range(20))


def test_json_is_read_as_json():
    text = '{"a": 1e-05, "b": "\\ud83d\\ude80\\u007f", "c":\t1}'
    assert parse_json_or_yaml(text) == {"a": 1e-05, "b": "\U0001f680\x7f", "c": 1}


def test_an_alias_that_repeats_a_part_is_read():
    assert parse_yaml("a: &part {b: 1}\nc: *part") == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize("read", [parse_yaml, parse_json_or_yaml])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "more than 1,000,000 values"),
        ("a: &a {b: *a}", "refers to itself"),
        ("[" * 60 + "]" * 60 + "x", "50 levels deep"),
        ("a: 2024-13-45", "month must be in 1..12"),
        ('a: !!int ""', "out of range|invalid literal"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: [", "while parsing"),
        ("a" * 10_000_001, "10000001 characters"),
    ],
)
def test_what_is_no_plain_data_is_refused(read, text, reason):
    with pytest.raises(TextDataError, match=reason):
        read(text)


def test_damaged_texts_are_read_or_refused():
    whole = 'classes: [sky, road]\ninput: {height: 90, width: 120, mean: [0.5, 1e-3]}\n# "x"\npalette: [[1, 2, 3]]\n'
    draw = random.Random(0)
    for _ in range(3000):
        text = list(whole)
        for _ in range(draw.randint(1, 6)):
            place = draw.randrange(len(text))
            text[place] = draw.choice("{}[]&*!|>:,-\t\n\x00\"'%@`?0aé ") * draw.randint(0, 3)
        try:
            parse_json_or_yaml("".join(text))
        except TextDataError:
            continue
