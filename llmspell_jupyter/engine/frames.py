"""Messages between the engine and a worker: a length, then a JSON object.

A frame is four bytes of length (big-endian) and that many bytes of UTF-8 JSON. Nothing here can
name a type or run code, and no frame is larger than ``LARGEST``.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, BinaryIO

#: Most bytes in one frame.
LARGEST = 32 * 1024 * 1024


class BadFrame(ValueError):
    """The other side sent something that is not a frame; the stream cannot be trusted on."""


def encode(message: dict[str, Any]) -> bytes:
    """One frame.

    Raises:
        BadFrame: The message is larger than ``LARGEST``, nests too deeply, or holds NaN or an
            infinity.
    """
    try:
        text = json.dumps(message, allow_nan=False, ensure_ascii=False)
    except (ValueError, RecursionError) as error:
        raise BadFrame(str(error)) from None
    # File names may hold halves of characters; they arrive as they were.
    body = text.encode("utf-8", "surrogatepass")
    if len(body) > LARGEST:
        raise BadFrame(f"a message of {len(body)} bytes is larger than {LARGEST}")
    return len(body).to_bytes(4, "big") + body


def read(stream: BinaryIO) -> dict[str, Any] | None:
    """The next message of a blocking stream; None at its end.

    Raises:
        BadFrame: Not a frame, or cut short.
    """
    head = stream.read(4)
    if not head:
        return None
    size = _size(head)
    body = stream.read(size)
    if len(body) != size:
        raise BadFrame(f"the stream ended inside a frame of {size} bytes")
    return _decode(body)


async def receive(stream: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next message of an asyncio stream; None at its end.

    Raises:
        BadFrame: Not a frame, or cut short.
    """
    try:
        head = await stream.readexactly(4)
        return _decode(await stream.readexactly(_size(head)))
    except asyncio.IncompleteReadError as error:
        if error.expected == 4 and not error.partial:
            return None
        raise BadFrame("the stream ended inside a frame") from None


def _size(head: bytes) -> int:
    if len(head) != 4:
        raise BadFrame("the stream ended inside a frame")
    size = int.from_bytes(head, "big")
    if size > LARGEST:
        raise BadFrame(f"a frame claims {size} bytes")
    return size


def _decode(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body.decode("utf-8", "surrogatepass"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"a frame is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise BadFrame("a frame is not a JSON object")
    return message


def _refuse(constant: str) -> float:
    raise BadFrame(f"a frame holds {constant}")
