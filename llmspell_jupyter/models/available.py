"""Models that can be had: of the catalogs, of packages, of Ollama's server and of the hub."""

from __future__ import annotations

import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from llmspell_jupyter.errors import InvalidModelSpec, LLMSpellError, Unreachable
from llmspell_jupyter.models import catalog, spec, store
from llmspell_jupyter.models.catalog import CatalogModel
from llmspell_jupyter.types import Availability, AvailableModel, Lookup, ModelInfo, Sources

#: Where people look through all there is.
OLLAMA_LIBRARY = "https://ollama.com/library"
HUB_LIBRARY = "https://huggingface.co/models?pipeline_tag=text-generation"

# Longest that servers are waited for, all together.
_SECONDS = 3.0
_LOCAL = ("localhost", "127.0.0.1", "::1", "[::1]")
_HUB_MODELS = 20
_OFFLINE = "this profile works offline."


def available(
    backend: str | None = None,
    search: str = "",
    sources: Sources | None = None,
    lookup: Lookup | None = None,
) -> Availability:
    """What can be had, and a note for each source that could not be asked.

    Servers are given three seconds. The hub is asked only with a search. Offline only an Ollama
    server of this machine is asked.

    Args:
        backend: Only what this backend would run; None or ``all`` is everything.
        search: Words that all have to occur in the name, the title or the licence.
        sources: Which servers.
        lookup: Names further catalogs, and the quantisation that is usual.

    Raises:
        InvalidModelSpec: The backend is unknown.
    """
    sources, lookup = sources or Sources(), lookup or Lookup()
    wanted = None if backend is None or backend.lower() == "all" else spec.known_backend(backend)
    asked = _Asked()
    if wanted != "candle":
        asked.ask(f"Ollama at {sources.ollama_url}", lambda: _of_ollama(sources))
    if wanted != "ollama" and search.strip():
        asked.ask("The hub", lambda: _of_hub(search, sources))
    here = _Here.now(lookup)
    models = [] if wanted == "ollama" else list(_known(here, lookup))
    words = search.lower().split()
    models = [each for each in models if _has(each, words, lookup)]
    seen = {each.repository.lower() for each in models if each.repository}
    found, notes = asked.answers()
    for each in found:
        if each.origin == "ollama" and _has(each, words, lookup):
            models.append(each)
        elif each.origin == "hub" and (each.repository or "").lower() not in seen:
            models.append(replace(each, installed=(each.repository or "").lower() in here.of_hub))
    return Availability(
        tuple(models), (*catalog.notes(lookup), *notes, *_libraries(wanted, search))
    )


def known(lookup: Lookup) -> tuple[AvailableModel, ...]:
    """Models of the catalogs, and bundled ones; no server is asked."""
    return tuple(_known(_Here.now(lookup), lookup))


@dataclass(frozen=True, slots=True)
class _Here:
    """What is on this machine: bundled models, names in the catalogs, repositories of the hub."""

    bundled: tuple[ModelInfo, ...]
    names: frozenset[str]
    of_hub: frozenset[str]

    @classmethod
    def now(cls, lookup: Lookup) -> _Here:
        infos = store.installed(lookup=lookup)
        return cls(
            tuple(info for info in infos if info.bundled),
            frozenset(model.name for info in infos if (model := _catalogs(info, lookup))),
            frozenset(info.repository.lower() for info in infos if info.repository),
        )


def _catalogs(info: ModelInfo, lookup: Lookup) -> CatalogModel | None:
    """What the catalogs say of a model on this machine."""
    try:
        found = catalog.of_spec(spec.parse(info.id), lookup)
    except InvalidModelSpec:
        return None
    return found[0] if found else None


def _known(here: _Here, lookup: Lookup) -> Iterator[AvailableModel]:
    """Models of the catalogs, and bundled ones that are in none."""
    bundled = {info.id: info for info in here.bundled}
    for model in catalog.models(lookup).values():
        installed = model.name in here.names or model.repository.lower() in here.of_hub
        yield AvailableModel(
            id=model.name,
            backend="candle",
            origin="bundled" if bundled.pop(model.name, None) else "catalog",
            title=model.title,
            repository=model.repository,
            quantizations=_quantizations(model, lookup),
            size_bytes=model.size_bytes(model.offers(lookup.quantization)),
            parameter_count=model.parameter_count,
            license=model.license,
            context_length=model.context_length,
            architecture=model.architecture,
            tasks=model.tasks,
            gated=model.gated,
            installed=installed,
        )
    for info in bundled.values():
        yield AvailableModel(
            id=info.id,
            backend=info.backend,
            origin="bundled",
            quantizations=(info.quantization,) if info.quantization else (),
            size_bytes=info.size_bytes,
            parameter_count=info.parameter_count,
            license=info.license,
            context_length=info.context_length,
            architecture=info.architecture,
            installed=True,
        )


def _quantizations(model: CatalogModel, lookup: Lookup) -> tuple[str, ...]:
    usual = model.offers(lookup.quantization) or model.quantization
    return tuple(sorted(model.files, key=lambda each: each != usual))


def _has(model: AvailableModel, words: Sequence[str], lookup: Lookup) -> bool:
    """Whether all words occur in what is said of a model."""
    known = catalog.find(model.id, lookup) if model.repository else None
    texts = (model.id, model.title, model.repository, model.license, model.architecture)
    text = " ".join(filter(None, (*texts, *model.tasks, *(known.aliases if known else ())))).lower()
    return all(word in text for word in words)


def _of_ollama(sources: Sources) -> list[AvailableModel]:
    host = urllib.parse.urlsplit(sources.ollama_url).hostname
    if sources.offline and host not in _LOCAL:
        raise Unreachable(f"Ollama at {sources.ollama_url} is not asked: {_OFFLINE}")
    from llmspell_jupyter.models import ollama

    found = []
    for info in ollama.tags(sources.ollama_url):
        name = info.id.removesuffix("@ollama")
        found.append(
            AvailableModel(
                id=str(spec.parse(f"{name}@ollama")),
                backend="ollama",
                origin="ollama",
                quantizations=(info.quantization,) if info.quantization else (),
                size_bytes=info.size_bytes,
                parameter_count=info.parameter_count,
                context_length=info.context_length,
                architecture=info.architecture,
                installed=True,
            )
        )
    return found


def _of_hub(search: str, sources: Sources) -> list[AvailableModel]:
    if sources.offline:
        raise Unreachable(f"The hub is not searched: {_OFFLINE}")
    # Loads the hub's own library.
    from llmspell_jupyter.models import hub

    return hub.search(search, sources, _HUB_MODELS)


def _libraries(backend: str | None, search: str) -> Iterator[str]:
    """What was not searched, and where people can do so."""
    if backend != "candle":
        yield f"Ollama's library cannot be searched from here; see {OLLAMA_LIBRARY}"
    if backend != "ollama" and not search.strip():
        yield f"The hub is searched with: %model_available --search TEXT; see {HUB_LIBRARY}"


class _Asked:
    """Servers that are asked side by side, and waited for until a common deadline."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + _SECONDS
        self._threads: list[tuple[str, threading.Thread]] = []
        self._found: dict[str, list[AvailableModel]] = {}
        self._notes: dict[str, str] = {}

    def ask(self, who: str, question: Callable[[], list[AvailableModel]]) -> None:
        """Begin to ask a server; a failure becomes a note."""

        def work() -> None:
            try:
                self._found[who] = question()
            except LLMSpellError as error:
                self._notes[who] = " ".join(error.message.split())
            except Exception as error:  # One source less is no reason to show none.
                self._notes[who] = f"{who} gives no list: {type(error).__name__}."

        # One that is silent for longer ends by its own limits, or with the process.
        thread = threading.Thread(target=work, name="llmspell-available", daemon=True)
        self._threads.append((who, thread))
        thread.start()

    def answers(self) -> tuple[list[AvailableModel], list[str]]:
        """What was found until the deadline, in the order of asking, and the notes."""
        found: list[AvailableModel] = []
        notes = []
        for who, thread in self._threads:
            thread.join(max(0.0, self._deadline - time.monotonic()))
            if who in self._found:
                found += self._found[who]
            elif who in self._notes:
                notes.append(self._notes[who])
            else:
                notes.append(f"{who} did not answer within {_SECONDS:.0f} seconds.")
        return found, notes
