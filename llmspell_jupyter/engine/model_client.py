"""Model files as other rooms reach them: list, find, pull, check, remove."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import httpx

from llmspell_jupyter.engine import messages
from llmspell_jupyter.engine.api import calls
from llmspell_jupyter.engine.calling import Calls
from llmspell_jupyter.engine.exchange import Ask
from llmspell_jupyter.engine.pull_client import Pull
from llmspell_jupyter.types import (
    Availability,
    Fit,
    LoadOptions,
    Lookup,
    ModelInfo,
    PullProgress,
    PullRequest,
    Sources,
)

# Listing, removing and looking through stores are a matter of a disk, which may be slow.
_DISK_SECONDS = 120.0

# Sources that do not answer are left out long before.
_SEARCH_SECONDS = 30.0

_QUERY = {"folders": "folder", "caches": "cache", "catalogs": "catalog"}


class ModelClient(Calls):
    """What the engine does with model files.

    ``lookup`` and ``sources`` are those of whoever asks; None leaves both to the engine, as its
    own environment says.
    """

    def models(self, lookup: Lookup | None = None) -> list[ModelInfo]:
        """Models on this machine.

        Args:
            lookup: Names places that are searched before those of the engine.
        """
        places = [
            (name, place)
            for field, name in _QUERY.items()
            for place in (getattr(lookup, field) if lookup else ())
        ]
        if lookup and lookup.ollama_store:
            places.append(("ollama_store", lookup.ollama_store))
        path = str(httpx.URL("/api/models", params=places))
        answer = self._get(path, _DISK_SECONDS)
        return [messages.model_from_wire(each) for each in answer["models"]]

    def pull(self, request: PullRequest) -> Pull:
        """Fetch a model, or join whoever fetches it; iterate over what is returned."""
        return Pull(self._ready_portal(), request.model, Ask("POST", "/api/pull", _pull(request)))

    def pull_in_background(self, request: PullRequest) -> str:
        """Begin to fetch a model, or join whoever fetches it; the job's id, for ``follow``."""
        return self.begin_pull(request).job

    def begin_pull(self, request: PullRequest) -> PullProgress:
        """The same: where the job stands."""
        body = _pull(request) | {"background": True}
        return messages.pull_from_wire(self._post("/api/pull", body, _SEARCH_SECONDS))

    def begin_verify(self, model: str, lookup: Lookup | None = None) -> PullProgress:
        """Begin to compare a model's files with what was published: where the job stands.

        Raises:
            ModelNotFound: There is no such model.
        """
        body = {"model": model, "background": True} | _ours(lookup)
        return messages.pull_from_wire(self._post("/api/verify", body, _SEARCH_SECONDS))

    def verify(self, model: str, lookup: Lookup | None = None) -> Pull:
        """Compare a model's files with what was published; iterate as of a pull.

        Raises:
            HashMismatch: While iterating, when they differ.
        """
        body = {"model": model} | _ours(lookup)
        return Pull(self._ready_portal(), model, Ask("POST", "/api/verify", body))

    def follow(self, job: str) -> Pull:
        """Watch a download or check, whoever began it; one that has ended says how.

        No engine is started for it.
        """
        path = f"/api/jobs/{quote(job, safe='')}/events"
        return Pull(self._ready_portal(), "a model", Ask("GET", path))

    def available(
        self,
        backend: str | None = None,
        search: str = "",
        sources: Sources | None = None,
        lookup: Lookup | None = None,
    ) -> Availability:
        """Models that can be had.

        Args:
            backend: Only those that this backend runs; None is all.
            search: Only those that this text fits; the hub is searched for it, too.
            sources: Where to ask.
            lookup: What is on this machine, and further catalogs.
        """
        body = {"backend": backend, "search": search} | _ours(lookup, sources)
        answer = self._post("/api/available", body, _SEARCH_SECONDS)
        return messages.availability_from_wire(answer)

    def info(
        self, model: str, lookup: Lookup | None = None, sources: Sources | None = None
    ) -> dict[str, Any]:
        """Everything about a model: the fields of ``ModelInfo``, ``loaded``, ``header`` and more.

        Raises:
            ModelNotFound: There is no such model.
        """
        return self._post("/api/info", {"model": model} | _ours(lookup, sources), _DISK_SECONDS)

    def fit(
        self,
        model: str,
        lookup: Lookup | None = None,
        options: LoadOptions | None = None,
        sources: Sources | None = None,
    ) -> Fit:
        """Whether a model would fit on this machine, loaded like this, and how fast it would be."""
        body = {"model": model} | _ours(lookup, sources)
        body["llmspell"]["options"] = calls.unusual(options or LoadOptions(), LoadOptions())
        return messages.fit_from_wire(self._post("/api/fit", body, _DISK_SECONDS))

    def ollama(self, sources: Sources | None = None) -> dict[str, Any]:
        """Ollama's server: ``{running, url, version, models, loaded, error}``; never raises for it.

        ``models`` are as ``info`` has them, ``loaded`` those in its memory.
        """
        return self._post("/api/ollama", _ours(None, sources), _SEARCH_SECONDS)

    def remove(
        self, model: str, lookup: Lookup | None = None, sources: Sources | None = None
    ) -> int:
        """Remove a model; the bytes that are free now.

        Raises:
            EngineBusy: It is loaded, works, or is fetched.
            NotRemovable: It is not the user's to remove.
            ModelNotFound: There is no such model.
        """
        answer = self._post("/api/remove", {"model": model} | _ours(lookup, sources), _DISK_SECONDS)
        return int(answer["bytes"])

    def gc(
        self,
        lookup: Lookup | None = None,
        sources: Sources | None = None,
        dry_run: bool = True,
    ) -> list[dict[str, Any]]:
        """What lies about without use, ``{path, bytes, why}`` each; removed unless ``dry_run``."""
        body = {"dry_run": dry_run} | _ours(lookup, sources)
        garbage: list[dict[str, Any]] = self._post("/api/gc", body, _DISK_SECONDS)["garbage"]
        return garbage


def _pull(request: PullRequest) -> dict[str, Any]:
    body = calls.unusual(request, PullRequest(""))
    body.pop("lookup", None), body.pop("sources", None)
    return {"model": request.model, **body} | _ours(request.lookup, request.sources)


def _ours(lookup: Lookup | None, sources: Sources | None = None) -> dict[str, Any]:
    """What goes under ``llmspell``."""
    ours: dict[str, Any] = {}
    if lookup is not None:
        ours["lookup"] = calls.unusual(lookup, Lookup())
    if sources is not None:
        # All of them: what is usual here may not be so in the engine's environment.
        ours["sources"] = asdict(sources)
    return {"llmspell": ours}
