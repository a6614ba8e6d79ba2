"""Judges models before they are loaded or fetched: memory, disk and speed of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from llmspell_jupyter.config import environment
from llmspell_jupyter.engine import architectures, dispatch, memory
from llmspell_jupyter.engine.speed import Judged, Speeds
from llmspell_jupyter.engine.supervisor import Supervisor
from llmspell_jupyter.engine.threads import in_daemon_thread
from llmspell_jupyter.errors import ModelNotFound, UnsupportedModel
from llmspell_jupyter.models import catalog, fit, known, nearest, spec, store
from llmspell_jupyter.models.fit import Space, Subject
from llmspell_jupyter.models.known import Known
from llmspell_jupyter.models.need import Need
from llmspell_jupyter.types import Fit, LoadOptions, LoadRequest, Lookup, PullRequest, Sources


async def judge(
    name: str,
    options: LoadOptions,
    lookup: Lookup,
    sources: Sources,
    *,
    supervisor: Supervisor,
    speeds: Speeds,
) -> Fit:
    """Whether a model fits, and how fast it would be.

    One of this machine is judged by its files, one of a catalog by its entry, and any other by
    the head of its file on the hub.

    Args:
        name: Model spec or path.
        options: How it would be loaded.
        lookup: What is on this machine, and further catalogs.
        sources: Where the hub is.
        supervisor: Knows what is loaded.
        speeds: Knows this machine.

    Raises:
        ModelNotFound: There is no such model.
        UnsupportedModel: Nothing here runs it, or another program does.
        LLMSpellError: The hub could not be asked.
    """
    found = await in_daemon_thread(_find, name, lookup, sources)
    backend = await asyncio.to_thread(_backend, found, options, lookup)
    trained = found.info.context_length or 0
    wanted = options.context_size or trained or LoadOptions().context_size
    wanted = min(wanted, trained or wanted)
    judged = Judged(found.info.format, found.info.architecture, found.info.size_bytes, found.work)
    speed, note, device = await speeds.expect(judged, options, wanted)
    unjudged = memory.unjudged(options, sys.platform) if device != "cpu" else ""
    free, idle = await supervisor.room(found.info)
    disk = await asyncio.to_thread(_disk, lookup) if found.disk_need else None
    space = Space(free.free, free.where, idle, free.most, free.most_by, disk, unjudged)
    subject = Subject(
        model=found.info.id,
        quantization=found.info.quantization,
        size_bytes=found.info.size_bytes,
        trained=trained,
        need=_need(found, options, backend),
        source=found.source,
        disk_need=found.disk_need,
    )
    device = device or (options.device if options.device != "auto" or unjudged else "cpu")
    return await asyncio.to_thread(fit.judge, subject, space, wanted, device, speed, note)


def _need(found: Known, options: LoadOptions, backend: str) -> Callable[[int], Need]:
    return lambda tokens: found.need(replace(options, context_size=tokens), backend)


def _find(name: str, lookup: Lookup, sources: Sources) -> Known:
    """What is known of a model, from the nearest place that knows it."""
    if spec.is_path(name):
        return known.of_files(store.resolve(name, lookup))
    wanted = spec.parse(name)
    if wanted.backend == "ollama" or wanted.provider:
        raise UnsupportedModel(
            f"{name} is run by {wanted.provider or 'Ollama'}, which decides by itself what fits.",
            hint="Leave the provider out to judge a model of this engine.",
            data={"model": name},
        )
    with contextlib.suppress(ModelNotFound):
        return known.of_files(store.resolve(name, lookup))
    if entry := catalog.of_spec(wanted, lookup):
        model, asked = entry
        chosen = model.offers(asked or lookup.quantization) or asked
        if (told := known.of_catalog(model, chosen)) is not None:
            return told
    elif wanted.kind != "repository":
        raise nearest.unknown(wanted, lookup)
    from llmspell_jupyter.models import remote

    return remote.look(PullRequest(name, lookup=lookup, sources=sources))


def _backend(found: Known, options: LoadOptions, lookup: Lookup) -> str:
    """The backend that would run it; one that is not here is taken as its architecture's first."""
    if found.source == "files":
        request = LoadRequest(str(found.info.path), options, lookup)
        return dispatch.choose(found.info, request).backend
    if found.info.architecture is None:
        return "llama_cpp" if found.info.format == "GGUF" else "torch_causal"
    return architectures.detect(found.info).backends[found.info.format][0]


def _disk(lookup: Lookup) -> int:
    from llmspell_jupyter.models.pull import space

    caches = lookup.caches or tuple(map(str, environment.hub_caches()))
    return space.free_bytes(Path(caches[0]).expanduser().absolute())
