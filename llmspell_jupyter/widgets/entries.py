"""The models that the browser lists: those of this machine and those that can be had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmspell_jupyter.models import store
from llmspell_jupyter.types import AvailableModel, ModelInfo

# Stores whose models are this user's to remove.
_OWN = frozenset({"hub", "folder", "ollama"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A model in the browser.

    Attributes:
        key: Stays the same when the model is pulled or removed.
        id: What to write after ``%model_pull`` or ``%model_load``.
        names: What jobs and processes may call it, in lower case.
        backend: Backend that runs it.
        origin: Where it lies, or where it can be had.
        installed: It is on this machine.
        loadable: The engine can load it; Ollama's server loads its own when they are asked.
        removable: It is this user's to remove.
        title: One line about it; may be empty.
    """

    key: str
    id: str
    names: frozenset[str]
    backend: str
    origin: str
    installed: bool = False
    loadable: bool = True
    removable: bool = False
    title: str = ""
    size_bytes: int | None = None
    quantization: str | None = None
    license: str | None = None
    gated: bool = False


def merged(installed: Sequence[ModelInfo], available: Sequence[AvailableModel]) -> list[Entry]:
    """One entry for each model; what is here hides what it was pulled from."""
    offers = {each.id.lower(): each for each in available}
    keys: dict[str, str] = {}
    for key, offer in offers.items():
        for name in _names_of_offer(offer):
            keys.setdefault(name, key)
    found: dict[str, Entry] = {}
    for model in installed:
        names = frozenset(_names_of_model(model))
        key = next((keys[each] for each in sorted(names) if each in keys), model.id.lower())
        # A second model of the same offer, such as one of another folder, is a row of its own.
        key = model.id.lower() if key in found else key
        found[key] = _of_model(key, names, model, offers.get(key))
    for key, offer in offers.items():
        found.setdefault(key, _of_offer(key, offer))
    return list(found.values())


def of_job(model: str) -> Entry:
    """A model that is known only from a job that fetches it."""
    return Entry(model.lower(), model, frozenset({model.lower()}), "candle", "pull")


def _of_model(
    key: str, names: frozenset[str], model: ModelInfo, offer: AvailableModel | None
) -> Entry:
    return Entry(
        key=key,
        id=model.id if model.backend != "ollama" else f"{model.id}@ollama",
        names=names,
        backend=model.backend,
        origin=model.store,
        installed=True,
        loadable=_is_loadable(model.backend),
        removable=model.store in _OWN,
        title=offer.title if offer else "",
        size_bytes=model.size_bytes,
        quantization=model.quantization,
        license=model.license or (offer.license if offer else None),
    )


def _of_offer(key: str, offer: AvailableModel) -> Entry:
    return Entry(
        key=key,
        id=offer.id,
        names=frozenset(_names_of_offer(offer)),
        backend=offer.backend,
        origin=offer.origin,
        # Another file of the same repository on this machine is not what is offered.
        installed=offer.installed and offer.origin == "ollama",
        loadable=_is_loadable(offer.backend),
        title=offer.title,
        size_bytes=offer.size_bytes,
        quantization=offer.quantizations[0] if offer.quantizations else None,
        license=offer.license,
        gated=offer.gated,
    )


def _is_loadable(backend: str) -> bool:
    return backend != "ollama"


def _names_of_model(model: ModelInfo) -> Iterator[str]:
    yield model.id.lower()
    if model.repository:
        kind = store.quantization_of(model) if model.format == "GGUF" else None
        suffix = f":{kind}" if kind else ""
        yield f"{model.repository}{suffix}".lower()


def _names_of_offer(offer: AvailableModel) -> Iterator[str]:
    usual = offer.quantizations[0].lower() if offer.quantizations else ""
    for name in filter(None, (offer.id, offer.repository)):
        plain = name.lower().removeprefix("hf.co/").removesuffix("@ollama")
        yield name.lower()
        yield plain
        if usual:
            yield f"{plain}{'-' if ':' in plain else ':'}{usual}"
