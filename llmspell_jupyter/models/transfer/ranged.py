"""A few bytes of a file on the hub, such as a header."""

from __future__ import annotations

from llmspell_jupyter.errors import Interrupted, PullError, Unreachable
from llmspell_jupyter.models.transfer.client import Client, Wanted
from llmspell_jupyter.models.transfer.failures import Again, Changed
from llmspell_jupyter.models.transfer.line import Line
from llmspell_jupyter.models.transfer.sockets import Sockets
from llmspell_jupyter.types import Sources

_MOST_RANGED = 64 * 1024**2


def ranged(url: str, sources: Sources, start: int, end: int) -> bytes:
    """Bytes of a file on the hub, from ``start`` up to ``end``; fewer when it is shorter.

    The same rules hold as for pulls: where files come from, and who is given the token.

    Raises:
        Refused: The hub sends us where files are not fetched from.
        PullError: It could not be read.
    """
    if sources.offline:
        raise Unreachable(
            "The hub may not be asked: no network is to be used.", hint="Unset HF_HUB_OFFLINE."
        )
    if not 0 <= start < end or end - start > _MOST_RANGED:
        raise ValueError(f"no range to read at a time: {start} to {end}")
    name = url.partition("?")[0].rpartition("/")[2] or "The file"
    line = Line(Client(sources, Sockets()))
    made = bytearray()
    try:
        answer = line.get(Wanted(url, name), start, end)
        if answer.whole and start:
            raise PullError(f"{line.origin} sends files only as a whole.")
        buffer = memoryview(bytearray(256 * 1024))
        while len(made) < end - start and (
            count := answer.read_into(buffer[: end - start - len(made)])
        ):
            made += buffer[:count]
        answer.close()
    except Again as error:
        raise (
            error.error or PullError(f"{error.why}.", hint="Type the same line again.")
        ) from None
    except (Changed, Interrupted):
        raise PullError(
            f"{name} changes on the server.", hint="Type the same line again."
        ) from None
    finally:
        line.close()
    return bytes(made)
