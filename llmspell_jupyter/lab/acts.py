"""What pages do: each may start the engine, as a cell would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

from llmspell_jupyter.engine import messages
from llmspell_jupyter.engine.api.model_requests import LockedFiles
from llmspell_jupyter.engine.api.reading import Strict, valid
from llmspell_jupyter.errors import RequestError
from llmspell_jupyter.lab.desk import Desk
from llmspell_jupyter.lab.handlers import Asked
from llmspell_jupyter.models import spec

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.local_models import LocalModels

_T = TypeVar("_T")

_Text = Annotated[str, Field(min_length=1, max_length=300)]


class _Model(Strict):
    model: _Text


class _Pull(_Model):
    quantization: _Text | None = None
    revision: _Text | None = None
    force: bool = False
    bytes_per_second: Annotated[int, Field(ge=0, le=10**12)] = 0
    locked: LockedFiles = Field(default_factory=list)


class _Unload(Strict):
    # Also a path, which may be longer than a name.
    model: Annotated[str, Field(min_length=1, max_length=4096)]
    force: bool = False


class _Search(Strict):
    search: Annotated[str, Field(max_length=300)] = ""
    backend: _Text | None = None


class _Cancel(Strict):
    discard: bool = False


async def search(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """``{search, backend?}``: models that can be had, of the hub and Ollama's server as well."""
    body = valid(asked.body, _Search)
    found = await desk.act(lambda models: models.available(body.backend, body.search))
    return asdict(found)


async def fit(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """``{model}``: whether it fits, and how fast it would answer."""
    return asdict(await _named(desk, asked, lambda models, name: models.fit(name)))


async def info(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """``{model}``: everything known of it."""
    return await _named(desk, asked, lambda models, name: models.info(name))


async def pull(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """``{model, quantization?, revision?, force?, bytes_per_second?, locked?}``: begin to fetch it.

    ``locked`` are path and SHA-256 of each file, as the job of a locked pull has them.
    """
    body = valid(asked.body, _Pull)
    name = _name(body.model)

    def begin(models: LocalModels) -> Any:
        request = models.request(
            name,
            quantization=body.quantization,
            revision=body.revision,
            force=body.force,
            bytes_per_second=body.bytes_per_second,
            locked=tuple(body.locked),
        )
        return desk.client.begin_pull(request)

    return messages.pull_to_wire(await desk.act(begin))


async def verify(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """``{model}``: begin to compare its files with what was published."""
    begin = await _named(
        desk, asked, lambda models, name: desk.client.begin_verify(name, models.lookup)
    )
    return messages.pull_to_wire(begin)


async def load(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """``{model}``: get it ready; ``loading`` says whether that goes on still."""
    return {"loading": await _named(desk, asked, desk.loads.begin)}


async def unload(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """``{model, force?}``: end the processes that hold it; how many there were.

    What was loaded by its path is named by that, just as the status has it.
    """
    body = valid(asked.body, _Unload)

    def end(models: LocalModels) -> int:
        if not spec.is_path(body.model):
            return models.unload(_name(body.model), force=body.force)
        # A path under which nothing is loaded is none that the engine may look at.
        workers = (desk.client.status() or {}).get("workers", ())
        if body.model not in [each["model"] for each in workers]:
            return 0
        return desk.client.unload(body.model, force=body.force)

    return {"unloaded": await desk.act(end)}


async def remove(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """``{model}``: delete it; the bytes that are free now."""
    return {"bytes": await _named(desk, asked, lambda models, name: models.remove(name))}


async def cancel(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """``{discard?}``: end a job; with ``discard`` nothing of a pull stays."""
    body = valid(asked.body, _Cancel)
    job = asked.parts[0]
    return {
        "cancelled": await desk.act(lambda _: desk.client.cancel_job(job, discard=body.discard))
    }


async def _named(desk: Desk, asked: Asked, work: Callable[[LocalModels, str], _T]) -> _T:
    name = _name(valid(asked.body, _Model).model)
    return await desk.act(lambda models: work(models, name))


def _name(text: str) -> str:
    """The name of a model, which is no path: pages name what is listed.

    Raises:
        RequestError: It is one.
        InvalidModelSpec: It does not follow the grammar.
    """
    if spec.is_path(text) or spec.parse(text).kind == "path":
        raise RequestError(
            "A model is named by its name here, not by a path.",
            hint="In a cell, type: %model_load PATH",
            data={"param": "model"},
        )
    return text
