"""Files that are no configuration: refused at once, in one line, with next to no memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmspell_jupyter.config import files, paths, scan
from llmspell_jupyter.errors import ConfigError
from tests.config.conftest import Machine
from tests.support.clock import at_once

K = files.LARGEST

HOSTILE = {
    "nested lists": "a = " + "[" * 5000,
    "nested tables": "a = " + "{a = " * 5000,
    "a key of 10,000 parts": ".".join("a" * 10_000) + " = 1",
    "a table of 10,000 parts": "[" + ".".join("a" * 10_000) + "]",
    "quoted parts": ".".join(['"a"'] * 5000) + " = 1",
    "a part in a table": "x = { " + ".".join("a" * 5000) + " = 1 }",
    "a long number": "a = " + "9" * 20_000,
    "a long number in parts": "a = " + "1_" * 10_000 + "1",
    "a long word": "a" * 20_000 + " = 1",
    "quotes": "a = " + '"' * K,
    "apostrophes": "a = '''" + "'" * (K - 10),
    "backslashes": 'a = "' + "\\" * (K - 10),
    "a long list": "a = [" + "1," * (K // 2 - 5) + "]",
    "many keys": "\n".join(f"k{number} = 1" for number in range(K // 10)),
    "many tables": "\n".join(f"[{number}.b.c.d.e.f]" for number in range(K // 18)),
    "many dotted keys": "\n".join(f"{number}.b.c.d.e.f = 1" for number in range(K // 20)),
    "many lists of tables": "\n".join(["[[a]]"] * (K // 6)),
    "escapes": 'a = "' + "\\u0041" * (K // 6 - 5) + '"',
    "nothing": "\0" * 1000,
    "a key that looks like nothing": '"' + "x" * 190 + '" = 1',
}


def _refused(path: Path, machine: Machine) -> str:
    with at_once(), pytest.raises(ConfigError) as error:
        machine.load(config_file=path)
    text = str(error.value)
    assert len(text.splitlines()) == 1
    assert text.startswith(str(path))
    assert len(text) < len(str(path)) + 400
    return text


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(machine: Machine, case: str) -> None:
    _refused(machine.file(HOSTILE[case]), machine)


def test_what_is_said_of_them(machine: Machine) -> None:
    assert ":1: more than 8 lists and tables nested" in _refused(
        machine.file("a = " + "[" * 5000), machine
    )
    assert ":2: a key of more than 6 parts" in _refused(
        machine.file("\n" + ".".join("a" * 7) + " = 1"), machine
    )
    assert ":1: a word of more than 200 characters" in _refused(
        machine.file("a = " + "9" * 300), machine
    )
    assert ":1001: more than 3,000 parts of keys and values" in _refused(
        machine.file("[a]\n" + "b.c = 1\n" * 2000), machine
    )


def test_a_file_of_a_gigabyte(machine: Machine) -> None:
    path = machine.work / "huge.toml"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    assert "1,073,741,824 bytes" in _refused(path, machine)


def test_what_is_not_a_file(machine: Machine) -> None:
    pipe = machine.work / "pipe.toml"
    os.mkfifo(pipe)
    for path, says in (
        (pipe, "this is not a file"),
        (machine.work, "this is not a file"),
        (Path("/dev/zero"), "this is not a file"),
        (machine.work / "absent.toml", "No such file"),
    ):
        assert says in _refused(path, machine)
    bad = machine.work / "latin.toml"
    bad.write_bytes(b"# caf\xe9\n")
    assert ":1: this is not text in UTF-8" in _refused(bad, machine)
    with pytest.raises(ConfigError, match="is not a path"):
        machine.load(config_file="a\0b")


def test_a_file_that_begins_as_windows_writes_it(machine: Machine) -> None:
    path = machine.work / "windows.toml"
    path.write_bytes("\ufeff[engine]\r\n# é\r\nqueue_limit = 7\r\n".encode())
    explained = machine.load(config_file=path).explain("engine.queue_limit")
    assert (explained.value, explained.set_by.line) == (7, 3)


def test_memory_stays_small(machine: Machine) -> None:
    """In a process of its own, as memory once taken is not given back."""
    huge = machine.work / "huge.toml"
    with huge.open("wb") as file:
        file.truncate(1 << 30)
    cases = [machine.file(text, f"{number}.toml") for number, text in enumerate(HOSTILE.values())]
    program = """
import resource, sys
from llmspell_jupyter.config import loading
loading.load("rag-prod", environ={})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        loading.load(config_file=path, environ={})
    except Exception as error:
        assert type(error).__name__ == "ConfigError", error
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, [huge, *cases])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) <= 10 * 1024


def _mutants() -> Iterator[tuple[int, bytes]]:
    sources = [path.read_bytes() for path in sorted(paths.builtin_profiles().glob("*.toml"))]
    pieces = [
        b"[",
        b"]",
        b"{",
        b'"',
        b"'''",
        b"=",
        b".",
        b"\n",
        b"\x00",
        b"\xff",
        b"nan",
        b"-",
        b"#",
        b"1e999",
        b"[[",
        b"extends = 'minimal'\n",
        b"9" * 30,
        b"true",
        b"\\u12",
    ]
    for seed in range(500):
        dice = random.Random(seed)
        text = bytearray(dice.choice(sources))
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(text))
            kind = dice.randrange(5)
            if kind == 0:
                text[at] ^= 1 << dice.randrange(8)
            elif kind == 1:
                del text[at : at + dice.randint(1, 40)]
            elif kind == 2:
                text[at:at] = dice.choice(pieces)
            elif kind == 3:
                lines = text.split(b"\n")
                one, other = dice.randrange(len(lines)), dice.randrange(len(lines))
                lines[one], lines[other] = lines[other], lines[one]
                text = bytearray(b"\n".join(lines))
            else:
                # Another value for a key, which is what people do.
                text = text.replace(
                    dice.choice([b"true", b"false", b"candle", b"info"]),
                    dice.choice([b"5", b"tru", b"[]", b'"x"', b"nan", b"{ a = 1 }"]),
                    1,
                )
            text = text or bytearray(b"=")
        yield seed, bytes(text)


def _error(path: Path, machine: Machine) -> ConfigError | None:
    try:
        machine.load(config_file=path)
    except ConfigError as error:
        return error
    return None


def test_500_mutants_load_or_are_told_in_one_line(machine: Machine) -> None:
    refused = 0
    for seed, content in _mutants():
        path = machine.work / "mutant.toml"
        path.write_bytes(content)
        with at_once(case=seed):
            error = _error(path, machine)
        if error is not None:
            refused += 1
            assert len(str(error).splitlines()) == 1, (seed, str(error))
            assert str(error).startswith(str(path)), (seed, str(error))
    # Of the others, most changed a comment.
    assert 200 < refused < 500, refused


TEXT = """# a comment
first = 1
a.b = "x # y"
[t.u]
list = [1, 2, # not the end
  { z = 1 }, \"\"\"two
lines\"\"\" ]
inner = { p = 1, q.r = [ ], s = { t = '''a'b''' } }
when = 1979-05-27 07:32:00Z
"quoted key" = 'x'
[[many]]
n = -1.5e3
"""


def test_lines_of_keys() -> None:
    tomllib.loads(TEXT)
    lines = {".".join(path): line for path, line in scan.scan(TEXT).lines.items()}
    assert lines == {
        "first": 2, "a": 3, "a.b": 3, "t": 4, "t.u": 4, "t.u.list": 5, "t.u.inner": 8, "t.u.inner.p": 8, "t.u.inner.q": 8, "t.u.inner.q.r": 8,
        "t.u.inner.s": 8, "t.u.inner.s.t": 8, "t.u.when": 9, "t.u.quoted key": 10, "many": 11, "many.n": 12,
    }  # fmt: skip


_ALPHABET = st.sampled_from(
    [
        "[",
        "]",
        "{",
        "}",
        '"',
        "'",
        "=",
        ".",
        ",",
        "\n",
        " ",
        "a",
        "1",
        "#",
        "\\",
        '"""',
        "'''",
        "\r\n",
        "true",
        "-",
    ]
)


@settings(max_examples=600, deadline=None)
@given(st.lists(_ALPHABET, max_size=60).map("".join))
def test_the_scan_sees_the_whole_of_every_file_that_parses(text: str) -> None:
    """What is given to the parser ends where the scan ends, so it may never end too early."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        pass
    else:
        try:
            assert scan.scan(text).end == len(text)
        except scan.Refused:
            return
    # And no beginning of a file that does not parse may become one that does.
    try:
        end = scan.scan(text).end
    except scan.Refused:
        return
    if end < len(text):
        with pytest.raises(tomllib.TOMLDecodeError):
            tomllib.loads(text[:end])


def test_a_change_of_a_file_is_seen(machine: Machine) -> None:
    """Also one that leaves the file's time as it is, which a fast writer can do."""
    path = machine.file("[engine]\nqueue_limit = 1\n")
    now = time.time_ns()
    for number in range(1, 5):
        path.write_text(f"[engine]\nqueue_limit = {number}\n")
        os.utime(path, ns=(now, now))
        assert machine.load(config_file=path).configuration.engine.queue_limit == number
    for number in range(5, 8):
        path.write_text(f"[engine]\nqueue_limit = {number}\n")
        os.utime(path, ns=(1, number))
        for _ in range(2):
            assert machine.load(config_file=path).configuration.engine.queue_limit == number
