"""The engine's side of model files: what can be had, fetched, checked, removed.

The libraries for talking to servers are imported at first use, on a thread. A question to a
server has a thread of its own; what only reads this machine's disk shares asyncio's.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from threading import Event
from typing import Any

from llmspell_jupyter.engine import messages
from llmspell_jupyter.engine.jobs import Jobs
from llmspell_jupyter.engine.metrics import Metrics
from llmspell_jupyter.engine.pull_job import Discard, PullJob, Report, Work
from llmspell_jupyter.engine.pulls import Pulls
from llmspell_jupyter.engine.supervisor import Supervisor
from llmspell_jupyter.engine.threads import in_daemon_thread
from llmspell_jupyter.errors import (
    BadModelFile,
    EngineBusy,
    InvalidModelSpec,
    LLMSpellError,
    ModelNotFound,
)
from llmspell_jupyter.models import inspect, spec, store
from llmspell_jupyter.models.folder import inspect_folder
from llmspell_jupyter.types import Lookup, ModelInfo, ModelSpec, PullProgress, PullRequest, Sources

# A chat template can be as long as a book.
_LONGEST_FACT = 4_000


class ModelFiles:
    """Model files of this machine and of the servers. Use from one event loop.

    Attributes:
        pulls: The jobs that fetch or check models.

    Args:
        supervisor: Knows which models are loaded.
        jobs: Knows which work.
        metrics: Counts what ended.
    """

    def __init__(self, supervisor: Supervisor, jobs: Jobs, metrics: Metrics):
        self.pulls = Pulls(self._ended)
        self._supervisor = supervisor
        self._jobs = jobs
        self._metrics = metrics
        self._lookups: dict[str, Lookup] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def pull(self, request: PullRequest, client: str) -> PullJob:
        """The job that fetches a model; one under way is joined.

        Raises:
            InvalidModelSpec: The name follows no grammar, or nothing can be fetched by it.
        """
        key, work, discard = await asyncio.to_thread(_pulling, request)
        job = self.pulls.start(
            *("pull", key, request.model, client, work),
            secret=request.sources.token,
            discard=discard,
            asked={
                "model": request.model,
                "quantization": request.quantization,
                "revision": request.revision,
                "force": request.force,
                "bytes_per_second": request.bytes_per_second,
                "locked": [list(each) for each in request.locked],
            },
        )
        self._lookups[job.id] = request.lookup
        return job

    async def verify(self, name: str, lookup: Lookup, client: str) -> PullJob:
        """The job that compares a model's files with what was published.

        Raises:
            ModelNotFound: There is no such model.
        """
        model = await asyncio.to_thread(_present, name, lookup)

        def work(report: Report, stop: Event) -> PullProgress:
            from llmspell_jupyter.models import verify

            return verify.verify(model, report, stop)

        return self.pulls.start("verify", str(model.path), model.id, client, work)

    async def available(
        self, backend: str | None, search: str, sources: Sources, lookup: Lookup
    ) -> dict[str, Any]:
        """What can be had, as JSON values."""

        def look() -> dict[str, Any]:
            from llmspell_jupyter.models import available

            return asdict(available.available(backend, search, sources, lookup))

        return await in_daemon_thread(look)

    async def remove(self, name: str, lookup: Lookup, sources: Sources) -> int:
        """Remove a model from the user's own store, or from Ollama's server; the bytes freed.

        Raises:
            EngineBusy: It is loaded, works, or is fetched.
            ModelNotFound: There is no such model.
            NotRemovable: It is not the user's to remove.
        """
        if wanted := _of_ollama(name):
            return await in_daemon_thread(_remove_from_ollama, wanted, sources.ollama_url)
        model = await asyncio.to_thread(_present, name, lookup)
        self._refuse_used(model)

        def remove() -> int:
            from llmspell_jupyter.models import removal

            return removal.remove(model, lookup)

        return await asyncio.to_thread(remove)

    async def collect(self, lookup: Lookup, *, dry_run: bool) -> list[dict[str, Any]]:
        """What nothing uses, ``{path, bytes, why}`` each; removed unless ``dry_run``."""

        def collect() -> list[dict[str, Any]]:
            from llmspell_jupyter.models import garbage

            found = garbage.collect(lookup, dry_run=dry_run, now=time.time())
            return [{**asdict(each), "path": str(each.path)} for each in found]

        return await asyncio.to_thread(collect)

    async def ollama(self, sources: Sources) -> dict[str, Any]:
        """Ollama's server as JSON values: ``{running, url, version, models, loaded, error}``."""

        def look() -> dict[str, Any]:
            from llmspell_jupyter.models import ollama

            url = sources.ollama_url
            state: dict[str, Any] = {"running": False, "url": url, "version": None, "error": None}
            state |= {"models": [], "loaded": []}
            try:
                state["version"] = ollama.version(url)
                state["models"] = [messages.model_to_wire(each) for each in ollama.tags(url)]
                state["loaded"] = [asdict(each) for each in ollama.running(url)]
                state["running"] = True
            except LLMSpellError as error:
                state["error"] = error.message
            return state

        return await in_daemon_thread(look)

    async def info(self, name: str, lookup: Lookup, sources: Sources) -> dict[str, Any]:
        """Everything about a model of this machine or of Ollama's server, as JSON values.

        Returns:
            The fields of ``ModelInfo``, ``loaded``, ``workers`` as in the engine's status, and
            ``header``, what its files say of themselves.

        Raises:
            ModelNotFound: There is no such model.
        """
        if wanted := _of_ollama(name):
            return await in_daemon_thread(_shown_by_ollama, wanted, sources.ollama_url)
        model = await asyncio.to_thread(_present, name, lookup)
        workers = [each for each in self._supervisor.to_wire() if each["model"] == model.id]
        return messages.model_to_wire(model) | {
            "loaded": any(each["state"] == "ready" for each in workers),
            "workers": workers,
            "header": await asyncio.to_thread(_header, model),
        }

    def _refuse_used(self, model: ModelInfo) -> None:
        facts = {"model": model.id}
        for pull in self.pulls:
            if pull.model == model.id:
                raise EngineBusy(
                    f"{model.id} is being fetched or checked.",
                    hint="Wait for it, or cancel it; %llmspell_status shows it.",
                    data=facts | {"job": pull.id},
                )
        works = any(job.model == model.id for job in self._jobs)
        if works or self._supervisor.model(str(model.path)) is not None:
            raise EngineBusy(
                f"{model.id} {'works' if works else 'is loaded'}.",
                hint=f"Type: %model_unload {spec.typed(model.id)}",
                data=facts,
            )

    def _ended(self, job: PullJob) -> None:
        complete = job.error is None
        downloaded = job.progress.metadata.get("downloaded", 0) if complete else 0
        self._metrics.pulled(job.kind, job.error, downloaded)
        lookup = self._lookups.pop(job.id, None)
        if complete and lookup is not None:
            task = asyncio.create_task(self._forgive(job.model, lookup))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forgive(self, name: str, lookup: Lookup) -> None:
        """Start workers of a model again whose files are fresh."""
        with suppress(LLMSpellError):
            self._supervisor.forgive(await asyncio.to_thread(store.resolve, name, lookup))


def _pulling(request: PullRequest) -> tuple[Hashable, Work, Discard | None]:
    """The key of a pull, what does it, and what throws away what has come of it."""
    wanted = spec.parse(request.model)
    if wanted.kind == "path":
        raise InvalidModelSpec(
            f"{request.model} is a path: what lies there needs no pull.",
            hint=f"To load it, type: %model_load {spec.typed(request.model)}",
        )
    from llmspell_jupyter.models import pull

    if _of_ollama(request.model):
        from llmspell_jupyter.models import ollama

        # Its server keeps what has come, where it likes.
        return pull.key(request), partial(ollama.pull, request), None
    return pull.key(request), partial(pull.pull, request), partial(pull.discard, request)


def _present(name: str, lookup: Lookup) -> ModelInfo:
    """The model of this name, also a damaged one that nothing can be asked."""
    try:
        return store.resolve(name, lookup)
    except BadModelFile:
        damaged = [each for each in store.installed(lookup=lookup) if store.is_named(name, each)]
        if len(damaged) != 1:
            raise
        return damaged[0]


def _of_ollama(name: str) -> ModelSpec | None:
    """What a name means to Ollama's server; None when it is not one of its."""
    wanted = spec.parse(name)
    return wanted if wanted.kind != "path" and wanted.backend == "ollama" else None


def _tag(wanted: ModelSpec) -> str:
    return f"{wanted.name}:{wanted.variant or 'latest'}"


def _listed(wanted: ModelSpec, url: str) -> ModelInfo:
    """The model as Ollama's server lists it."""
    from llmspell_jupyter.models import ollama

    found = ollama.tags(url)
    for each in found:
        if each.id.lower() == _tag(wanted).lower():
            return each
    raise ModelNotFound(
        f"Ollama's server has no model {_tag(wanted)}.",
        hint=f"To fetch it, type: %model_pull {_tag(wanted)}@ollama",
        data={"model": _tag(wanted), "models": [each.id for each in found]},
    )


def _remove_from_ollama(wanted: ModelSpec, url: str) -> int:
    from llmspell_jupyter.models import ollama

    size = _listed(wanted, url).size_bytes
    ollama.delete(url, _tag(wanted))
    return size


def _shown_by_ollama(wanted: ModelSpec, url: str) -> dict[str, Any]:
    from llmspell_jupyter.models import ollama

    model = _listed(wanted, url)
    shown = ollama.show(url, model.id)
    loaded = any(each.id == model.id for each in ollama.running(url))
    facts = shown.get("model_info") or shown.get("modelinfo") or {}
    return messages.model_to_wire(model) | {
        "loaded": loaded,
        "workers": [],
        "header": {name: _cut(value) for name, value in facts.items()},
    }


def _header(model: ModelInfo) -> dict[str, Any]:
    """What the model's own files say, long texts cut; empty where they are damaged."""
    try:
        if model.format == "GGUF":
            facts = inspect.read_gguf(model.path).metadata
        elif model.format == "safetensors":
            facts = inspect_folder(model.path).config
        else:
            return {}
    except (LLMSpellError, OSError):
        return {}
    return {name: _cut(value) for name, value in facts.items()}


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_FACT:
        return value[:_LONGEST_FACT] + "..."
    # JSON has no words for infinities; no header needs them.
    return None if isinstance(value, float) and not math.isfinite(value) else value
