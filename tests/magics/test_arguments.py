"""The words of a magic's line."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument, magic_arguments

from llmspell_jupyter.magics.arguments import parsed


@magic_arguments()
@argument("words", nargs="*")
@argument("-c", "--config")
@argument("--limit", type=float)
@argument("--form", choices=("toml", "json"))
def magic(line: str) -> None:
    """A magic to parse for."""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  one\ttwo ", ["one", "two"]),
        ("\"one two\" 'three four' five", ["one two", "three four", "five"]),
        ('""', [""]),
        (r'C:\models\x.gguf "C:\my models\x.gguf"', [r"C:\models\x.gguf", r"C:\my models\x.gguf"]),
        (r'"\\server\a share\\"', [r"\\server\a share\\"]),
        ("it's Bob's", ["it's", "Bob's"]),
        ("rock 'n' roll", ["rock", "n", "roll"]),
        ("""'say "hi"' "it's" """, ['say "hi"', "it's"]),
        ('"-f my.gguf"', ["-f my.gguf"]),
        ("[model]-v1=2 {x} $x", ["[model]-v1=2", "{x}", "$x"]),
    ],
)
def test_words(line: str, words: list[str]) -> None:
    assert parsed(magic, line).words == words


@pytest.mark.parametrize(
    "line",
    ['--config "my file.toml"', '--config="my file.toml"', "-c 'my file.toml'", '-c"my file.toml"'],
)
def test_values_of_options(line: str) -> None:
    assert parsed(magic, line).config == "my file.toml"


def test_values_of_other_kinds() -> None:
    assert parsed(magic, '--limit "5" --form "json"').limit == 5
    assert parsed(magic, "--form='json'").form == "json"


@pytest.mark.parametrize("line", ['one "two three', "--config='my file", '"a b"c', '"'])
def test_a_quotation_mark_that_is_not_closed(line: str) -> None:
    with pytest.raises(UsageError, match="quotation mark"):
        parsed(magic, line)
