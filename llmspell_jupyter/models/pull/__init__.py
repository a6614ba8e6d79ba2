"""Fetching models: the bytes come over our own transport, ``models.transfer``.

``huggingface_hub`` says what there is (``models.hub``); this package fetches it in parallel
ranges, resumes across processes by a journal of what is safe, checks every hash and publishes at
once.

    puller      a pull from beginning to end
    download    its connections and its hashing thread
    partial     one file on its way: bytes, journal, hash
    journal     which bytes of it are safe
    ranges      who fetches which of the rest
    claim       who fetches a file, among processes
    presence    what is here already
    publish     the store's layout
    discarding  what has come of a pull that is given up
    space       room on the disk
    limit       bytes per second
    meter       reports
    pace        numbers of all these
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Collection

from llmspell_jupyter.models import spec
from llmspell_jupyter.types import PullProgress, PullRequest


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
        InvalidModelSpec: The model's name does not follow the grammar, or Ollama has no such
            quantisation or revision.
        ModelNotFound: No catalog has it.
    """
    from llmspell_jupyter.models.hub import planning
    from llmspell_jupyter.models.ollama import pulling
    from llmspell_jupyter.models.pull import puller

    if spec.parse(request.model).backend == "ollama":
        facts: list[object] = ["ollama", pulling.name_of(request), request.sources.ollama_url]
    else:
        meant = planning.wanted(request)
        facts = [meant.repository.lower(), (meant.asked or "").lower(), *meant.wished]
        facts += [request.revision or "", sorted(request.locked), request.sources.endpoint]
        facts += [str(puller.stores(request.lookup)[0])]
    facts.append(request.force)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
