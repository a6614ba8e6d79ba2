from __future__ import annotations

import asyncio
import io
import json
import pickle
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmspell_jupyter.engine import frames
from llmspell_jupyter.engine.frames import BadFrame

# Halves of characters included: file names can hold them.
TEXT = st.text(st.characters(), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
MESSAGES = st.dictionaries(TEXT, VALUES, max_size=5)


def body(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def both(data: bytes) -> list[Any]:
    """What the blocking and the asyncio reader make of the same bytes; an error is a value."""

    async def receive() -> Any:
        stream = asyncio.StreamReader()
        stream.feed_data(data)
        stream.feed_eof()
        return await frames.receive(stream)

    results = []
    for read in (lambda: frames.read(io.BytesIO(data)), lambda: asyncio.run(receive())):
        try:
            results.append(read())
        except BadFrame:
            results.append(BadFrame)
    return results


@given(MESSAGES)
def test_a_message_comes_back(message: dict[str, Any]) -> None:
    assert both(frames.encode(message)) == [message, message]


@given(st.lists(MESSAGES, max_size=4))
def test_messages_come_in_order(sent: list[dict[str, Any]]) -> None:
    stream = io.BytesIO(b"".join(map(frames.encode, sent)))
    assert [frames.read(stream) for _ in sent] == sent
    assert frames.read(stream) is None


@settings(max_examples=500)
@given(st.binary(max_size=100) | st.binary(max_size=100).map(body))
def test_any_bytes_are_a_message_the_end_or_a_bad_frame(data: bytes) -> None:
    first, second = both(data)
    assert first == second
    assert first is None or first is BadFrame or isinstance(first, dict)
    assert (first is None) == (not data)


@settings(max_examples=300)
@given(MESSAGES.map(frames.encode), st.data())
def test_a_cut_frame_is_bad(frame: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(frame) - 1))
    assert both(frame[:cut]) == [BadFrame, BadFrame]


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        (frames.LARGEST + 1).to_bytes(4, "big") + b"{}",
        body(b""),
        body(b'{"a": "\xff\xfe"}'),
        body('{"a": 1}'.encode("utf-16")),
        body(b"[1]"),
        body(b'"text"'),
        body(b"{'a': 1}"),
        body(b'{"a": NaN}'),
        body(b'{"a": -Infinity}'),
        body(b'{"a": ' * 100_000),
        body(b"[" * 1_000_000),
        body(b'{"a": ' + b"9" * 10_000 + b"}"),
        body(pickle.dumps({"do": "load"})),
        body(pickle.dumps({"do": "load"}, protocol=0)),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_nonsense_is_a_bad_frame(data: bytes) -> None:
    assert both(data) == [BadFrame, BadFrame]


class _Counting(io.BytesIO):
    """Notes how much was asked for."""

    asked = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        self.asked = max(self.asked, size)
        return super().read(size)


@pytest.mark.parametrize("claimed", [2**31, 2**32 - 1, frames.LARGEST + 1])
def test_a_huge_claim_is_refused_before_anything_is_read(claimed: int) -> None:
    stream = _Counting(claimed.to_bytes(4, "big") + b"{}")
    with pytest.raises(BadFrame, match=str(claimed)):
        frames.read(stream)
    assert stream.asked == 4


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_no_frame_holds_what_json_has_no_number_for(number: float) -> None:
    with pytest.raises(BadFrame):
        frames.encode({"temperature": number})


def test_the_largest_frame_and_one_byte_more() -> None:
    room = frames.LARGEST - len(json.dumps({"a": ""}))
    message = {"a": "x" * room}
    assert frames.read(io.BytesIO(frames.encode(message))) == message
    with pytest.raises(BadFrame, match=str(frames.LARGEST)):
        frames.encode({"a": "x" * (room + 1)})


def test_a_message_that_nests_too_deeply_is_not_sent() -> None:
    deep: Any = 1
    for _ in range(10 * sys.getrecursionlimit()):
        deep = [deep]
    with pytest.raises(BadFrame):
        frames.encode({"a": deep})
