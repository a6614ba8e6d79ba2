"""Fetching models: the bytes come over our own transport, which resumes across processes.

``huggingface_hub`` says what there is (``models.hub``); this package fetches it in parallel
ranges, keeps a journal of what is safe, checks every hash and publishes at once.

    puller      a pull from beginning to end
    download    its connections and its hashing thread
    partial     one file on its way: bytes, journal, hash
    journal     which bytes of it are safe
    ranges      who fetches which of the rest
    transport   one request; redirects, tokens, TLS, proxies
    addresses   where files are fetched from, and where never
    claim       who fetches a file, among processes
    publish     the store's layout
    discarding  what has come of a pull that is given up
    space       room on the disk
    limit       bytes per second
    meter       reports
    pace        numbers of all these
"""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from collections.abc import Callable, Collection
from importlib.metadata import PackageNotFoundError, version

from llmspell_jupyter.errors import Interrupted, PullError, Unreachable
from llmspell_jupyter.models import spec
from llmspell_jupyter.types import PullProgress, PullRequest, Sources

_MOST_RANGED = 64 * 1024**2


def pull(
    request: PullRequest,
    report: Callable[[PullProgress], None],
    stop: threading.Event,
) -> PullProgress:
    """Fetch a model into the user's store; see ``puller.pull``."""
    # Imported at first use: most who import this only want a key.
    from llmspell_jupyter.models.pull import puller

    return puller.pull(request, report, stop)


def discard(request: PullRequest, files: Collection[str]) -> int:
    """Throw away what has come of a pull that has ended; see ``discarding.discard``."""
    from llmspell_jupyter.models.pull import discarding

    return discarding.discard(request, files)


def key(request: PullRequest) -> str:
    """Equal for requests that would fetch the same into the same store; asks no network.

    Raises:
        InvalidModelSpec: The model's name does not follow the grammar.
        ModelNotFound: No catalog has it.
    """
    from llmspell_jupyter.models.hub import planning
    from llmspell_jupyter.models.pull import puller

    named = spec.parse(request.model)
    if named.backend == "ollama":
        facts: list[object] = ["ollama", named.id, request.sources.ollama_url]
    else:
        meant = planning.wanted(request)
        facts = [meant.repository.lower(), (meant.asked or "").lower(), *meant.wished]
        facts += [request.revision or "", sorted(request.locked), request.sources.endpoint]
        facts += [str(puller.stores(request.lookup)[0])]
    facts.append(request.force)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def ranged(url: str, sources: Sources, start: int, end: int) -> bytes:
    """Bytes of a file on the hub, from ``start`` up to ``end``; fewer when it is shorter.

    The same rules hold as for pulls: where files come from, and who is given the token.

    Raises:
        Refused: The hub sends us where files are not fetched from.
        PullError: It could not be read.
    """
    from llmspell_jupyter.models.pull.sockets import Sockets
    from llmspell_jupyter.models.pull.transport import Again, Changed, Client, Line, Wanted

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


@functools.cache
def agent() -> str:
    """How we call ourselves to servers."""
    try:
        return f"llmspell-jupyter/{version('llmspell-jupyter')}"
    except PackageNotFoundError:
        return "llmspell-jupyter"
