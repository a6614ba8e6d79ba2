"""Which bytes of a file are there: ranges, parts and journals, against plain sets of bytes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspell_jupyter.models.pull import journal, ranges
from llmspell_jupyter.models.pull.journal import Header, Journal
from llmspell_jupyter.models.pull.meter import Meter
from llmspell_jupyter.models.pull.ranges import Parts, Ranges
from llmspell_jupyter.types import PullPhase, PullProgress

_PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted), max_size=20)


@given(_PAIRS)
def test_ranges_are_what_sets_are(pairs: list[list[int]]) -> None:
    made, there = Ranges(), set[int]()
    for start, end in pairs:
        made.add(start, end)
        there |= set(range(start, end))
    assert {byte for start, end in made for byte in range(start, end)} == there
    assert made.total == len(there)
    assert made.prefix == next(byte for byte in range(100) if byte not in there)
    missing = {byte for start, end in made.gaps(60) for byte in range(start, end)}
    assert missing == set(range(60)) - there
    edges = [edge for pair in made for edge in pair]
    assert edges == sorted(set(edges))


@pytest.mark.parametrize("seed", range(20))
def test_parts_cover_a_file_once(seed: int) -> None:
    """Whatever order connections finish, fail and take over in."""
    draw = random.Random(seed)
    now = [0.0]
    there = Ranges()
    there.add(100, 150)
    parts = Parts(1000, there, part=90, least=20, clock=lambda: now[0])
    fetched = []
    mine = []
    for _ in range(10_000):
        now[0] += draw.random()
        if there.total == 1000:
            break
        if len(mine) < 4 and (part := parts.take()) is not None:
            mine.append(part)
        if not mine:
            continue
        part = draw.choice(mine)
        to = min(part.end, part.at + draw.randrange(40))
        fetched.append((part.at, to))
        there.add(part.at, to)
        part.at = to
        if part.at >= part.end or draw.random() < 0.1:
            mine.remove(part)
            parts.leave(part)
    assert there.total == 1000
    assert sum(end - start for start, end in fetched) == 950


def test_an_idle_connection_takes_half_of_what_a_slow_one_has_left() -> None:
    now = [0.0]
    parts = Parts(1000, Ranges(), part=1000, least=100, clock=lambda: now[0])
    slow = parts.take()
    assert slow is not None
    assert parts.take() is None
    now[0] = 60.0
    helper = parts.take()
    assert helper is not None
    assert (slow.end, helper.at, helper.end) == (500, 500, 1000)


def test_a_whole_file_is_for_one() -> None:
    there = Ranges()
    there.add(0, 500)
    parts = Parts(1000, there, part=100, least=10)
    parts.whole = True
    only = parts.take()
    assert only is not None
    assert (only.at, only.end) == (0, 1000)
    assert parts.take() is None


@given(pairs=_PAIRS, cut=st.integers(0, 2000), noise=st.binary(max_size=50))
def test_a_journal_says_no_more_than_was_noted(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[list[int]], cut: int, noise: bytes
) -> None:
    """Cut anywhere, with anything behind it."""
    path = tmp_path_factory.mktemp("journal") / "x.journal"
    made = Journal(path, Header("blob", "a/b", 60, "etag"), Ranges())
    for start, end in pairs:
        if start < end:
            made.note(start, end)
    made.close()
    noted = {byte for start, end in pairs for byte in range(start, end)}
    data = path.read_bytes()
    known = journal.read(path)
    assert known is not None
    assert known[0] == Header("blob", "a/b", 60, "etag")
    assert {byte for start, end in known[1] for byte in range(start, end)} == noted
    path.write_bytes(data[:cut] + noise)
    known = journal.read(path)
    if known is not None and known[0] == Header("blob", "a/b", 60, "etag"):
        assert {byte for start, end in known[1] for byte in range(start, end)} <= noted


@pytest.mark.parametrize("at", range(20))
def test_a_damaged_record_and_what_follows_it_do_not_count(tmp_path: Path, at: int) -> None:
    path = tmp_path / "x.journal"
    made = Journal(path, Header("blob", "a", 2**40), Ranges())
    head = path.stat().st_size
    for start in (0, 100, 200):
        made.note(start, start + 100)
    made.close()
    data = bytearray(path.read_bytes())
    data[head + 20 + at] ^= 1
    path.write_bytes(data)
    known = journal.read(path)
    assert known is not None
    assert [*known[1]] == [(0, 100)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"{}\n",
        b"[]\n",
        b'{"blob": "x", "path": "y", "size": "z"}\n',
        b'{"blob": "x", "path": "y", "size": 1, "version": 99}\n',
        b'{"blob": "x", "path": "y", "size": 1, "more": 1}\n',
        bytes(100),
        b"\xff" * 10_000,
    ],
)
def test_a_journal_without_sense_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.journal"
    path.write_bytes(content)
    known = journal.read(path)
    assert known is None or known[1].total == 0


def test_a_meter_never_goes_back_and_knows_the_rate() -> None:
    seen: list[PullProgress] = []
    now = [0.0]
    meter = Meter("m", seen.append, clock=lambda: now[0])
    meter.files([("a", 1000), ("b", 3000)])
    for done in (0, 100, 500, 300, 700):
        now[0] += 1
        meter.show(PullPhase.DOWNLOADING, {"a": done, "b": done})
    assert [each.done for each in seen] == [0, 200, 1000, 1000, 1400]
    assert seen[-1].bytes_per_second == pytest.approx(350)
    assert seen[-1].seconds_left == pytest.approx(2600 / 350)
    meter.show(PullPhase.DOWNLOADING, {"a": 800})
    assert len(seen) == 5
    meter.show(PullPhase.DOWNLOADING, {"a": 800}, "a word")
    assert seen[-1].note == "a word"
    assert ranges.Ranges().prefix == 0
