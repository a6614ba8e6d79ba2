"""Models without an agent: find, judge, pull, check, remove, load, count, embed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llmspell_jupyter import providers
from llmspell_jupyter.engine.messages import model_from_wire
from llmspell_jupyter.errors import Interrupted, ProviderError, RequestError, Unreachable
from llmspell_jupyter.models import lock as locks
from llmspell_jupyter.models import spec
from llmspell_jupyter.providers import Provider, named
from llmspell_jupyter.types import (
    Availability,
    Embeddings,
    Lookup,
    Message,
    ModelInfo,
    ModelSpec,
    PullPhase,
    PullProgress,
    PullRequest,
    Ready,
    Sources,
    Tokens,
)

if TYPE_CHECKING:
    from llmspell_jupyter.engine.client import Generation, Part, Pull
    from llmspell_jupyter.runtime.runtime import Runtime
    from llmspell_jupyter.types import Fit

_T = TypeVar("_T")


class LocalModels:
    """What scripts, magics and the command do with models; options are those of the provider.

    Every model is named as in ``Agent.builder():model()``; None is the profile's default.

    Raises:
        LLMSpellError: From each method, when the model or the engine cannot.
        Interrupted: From each method, when it is stopped.
    """

    def __init__(self, runtime: Runtime):
        self._runtime = runtime

    @property
    def lookup(self) -> Lookup:
        """Where the profile in force looks for models."""
        return providers.lookup(self._runtime.providers)

    @property
    def sources(self) -> Sources:
        """Where the profile in force fetches models from."""
        return providers.sources(self._runtime.providers)

    # What there is

    def installed(self) -> list[ModelInfo]:
        """Models on this machine, in the folders of the profile first."""
        return self._runtime.engine.models(self.lookup)

    def listed(self, backend: str | None = None) -> list[ModelInfo]:
        """Models on this machine, those of Ollama's server first and bundled ones last.

        Args:
            backend: ``candle`` or ``ollama``; None or ``all`` is both, an Ollama server that is
                not in the profile or does not answer left out.

        Raises:
            Unreachable: Only Ollama's are asked for, and its server does not answer.
        """
        wanted = self._backend(backend)
        found: list[ModelInfo] = []
        if wanted == "ollama" or (wanted is None and self.has_ollama):
            server = self.ollama()
            if wanted and not server["running"]:
                raise Unreachable(
                    f"Ollama's server does not answer: {server['error']}",
                    hint="Start it in a terminal with: ollama serve",
                    data={"url": server["url"]},
                )
            found += [model_from_wire(each) for each in server["models"]]
        if wanted != "ollama":
            # What the user pulled comes before what came with a package.
            found += sorted(self.installed(), key=lambda each: each.store == "bundled")
        return found

    @property
    def has_ollama(self) -> bool:
        """Whether the profile has an Ollama server."""
        known = self._runtime.providers.values()
        return any(each.settings.provider_type == "ollama" for each in known)

    def loaded(self) -> set[str]:
        """Ids of the models that are in memory; no engine is started to know."""
        workers = (self._runtime.engine.status() or {}).get("workers", [])
        return {each["model"] for each in workers if each["state"] == "ready"}

    def available(self, backend: str | None = None, search: str = "") -> Availability:
        """Models that can be had.

        Args:
            backend: ``candle`` or ``ollama``; None is both.
            search: Words to look for; empty gives what is known without a search of the hub.
        """
        wanted = self._backend(backend)
        return self._runtime.engine.available(wanted, search, self.sources, self.lookup)

    def info(self, name: str) -> dict[str, Any]:
        """Everything known of one model, on this machine or not."""
        return self._runtime.engine.info(_plain(name), self.lookup, self.sources)

    def ollama(self) -> dict[str, Any]:
        """Ollama's server: ``{running, url, version, models, loaded, error}``."""
        return self._runtime.engine.ollama(self.sources)

    def fit(self, name: str) -> Fit:
        """Whether a model would fit into this machine, and how fast it would answer."""
        options = providers.load_options(self._runtime.providers)
        fit: Fit = self._runtime.engine.fit(_plain(name), self.lookup, options, self.sources)
        return fit

    # Fetching and keeping

    def request(
        self,
        name: str,
        *,
        quantization: str | None = None,
        revision: str | None = None,
        force: bool = False,
        bytes_per_second: int = 0,
        locked: tuple[tuple[str, str], ...] = (),
    ) -> PullRequest:
        """What to ask of the engine to fetch a model.

        A name without backend is one of ``candle``, which runs models in this package's engine,
        unless the profile's default provider is an Ollama server: then it is one of Ollama's.
        (rs-llmspell, which ran few models itself, takes Ollama's always.)

        Args:
            name: A catalog name, a repository, or a model of Ollama's.
            quantization: Which files of a repository; None is what the name says, else the
                profile's.
            revision: Branch, tag or commit of the repository.
            force: Fetch again what is there.
            bytes_per_second: Most for this download; 0 is no limit of its own.
            locked: Path and SHA-256 of every file that must come, as a lock file says.
        """
        return PullRequest(
            str(self._wanted(name)),
            quantization,
            revision,
            force,
            bytes_per_second,
            locked,
            lookup=self.lookup,
            sources=self.sources,
        )

    def pull(self, request: PullRequest | str) -> Pull:
        """Begin to fetch a model as a job of the engine; a second pull joins the first."""
        wanted = self.request(request) if isinstance(request, str) else request
        return self._runtime.engine.pull(wanted)

    def pull_in_background(self, request: PullRequest) -> str:
        """The same for nobody who watches: the id of the job."""
        return self._runtime.engine.pull_in_background(request)

    def follow(self, job: str) -> Pull:
        """Watch a pull or a check that runs already, whoever began it."""
        return self._runtime.engine.follow(job)

    def jobs(self) -> list[dict[str, Any]]:
        """Pulls and checks of the running engine, as its status has them."""
        status = self._runtime.engine.status() or {}
        return [each for each in status.get("jobs", []) if each["kind"] in ("pull", "verify")]

    def verify(self, name: str) -> Pull:
        """Begin to check the bytes of a model against what was published."""
        return self._runtime.engine.verify(_plain(name), self.lookup)

    def watching(self, pull: Pull) -> AbstractContextManager[Iterator[PullProgress]]:
        """The progress of a pull or a check, shown meanwhile; leaving the block early ends it."""
        return self._runtime.fetching(pull)

    def finish(self, pull: Pull) -> PullProgress:
        """Wait for a pull or a check, shown meanwhile; its last progress.

        Raises:
            Interrupted: It was cancelled, here or elsewhere.
        """
        with self.watching(pull) as steps:
            return complete(steps)

    def remove(self, name: str) -> int:
        """Delete a model that is this user's; the bytes that are free now."""
        return self._runtime.engine.remove(_plain(name), self.lookup, self.sources)

    def gc(self, *, dry_run: bool = False) -> list[dict[str, Any]]:
        """Delete what no model needs: ``{path, bytes, why}`` of each; a dry run deletes nothing."""
        return self._runtime.engine.gc(self.lookup, self.sources, dry_run)

    # The lock

    def lock(self, names: Sequence[str], file: Path) -> locks.Lock:
        """Write which models these are, byte for byte; without names those that were used.

        Args:
            names: Models; none are those that this notebook asked so far, else the profile's.
            file: Where to write; what it says of other models is not kept.
        """
        chosen = list(names) or self._used() or [self._runtime.place(None, None)[1]]
        made = locks.of([_plain(each) for each in chosen], file.parent, self.lookup)
        made.write(file)
        return made

    def check_lock(
        self, file: Path, names: Sequence[str] = (), *, fetched: bool = False
    ) -> list[str]:
        """Compare the models of this machine with a lock file; notes that are no difference.

        Args:
            file: The lock file.
            names: Models; all without any.
            fetched: What ``locked`` names has just been fetched.

        Raises:
            LockDiffers: A model is another, or not here.
        """
        return locks.read(file).check(names, file.parent, self.lookup, fetched=fetched)

    def locked(
        self,
        file: Path,
        names: Sequence[str] = (),
        *,
        force: bool = False,
        bytes_per_second: int = 0,
    ) -> list[PullRequest]:
        """What to ask of the engine to have the models of a lock file, byte for byte.

        Args:
            file: The lock file.
            names: Models; all that can be fetched without any.
            force: Fetch again what is there.
            bytes_per_second: Most for each download; 0 is no limit of its own.

        Raises:
            ModelNotFound: The file is not there, or has no such model.
            PullError: A model of these names came from no repository.
        """
        return [
            self.request(
                each.to_pull,
                revision=each.revision,
                force=force,
                bytes_per_second=bytes_per_second,
                locked=each.hashes,
            )
            for each in locks.read(file).chosen(names)
            if names or each.repository is not None
        ]

    def _backend(self, name: str | None) -> str | None:
        """A backend by its own name; None is both.

        Raises:
            RequestError: There is none of this name.
        """
        wanted = None if name in (None, "all") else spec.canonical(name)
        if wanted is not None and wanted not in spec.BACKENDS.values():
            raise RequestError(
                f"Backend {name!r} is not known.",
                hint=f"Available backends: {', '.join(sorted(set(spec.BACKENDS.values())))}.",
            )
        return wanted

    def _used(self) -> list[str]:
        """Models that this notebook asked, the first one first."""
        rows = self._runtime.calls.rows()
        return list(dict.fromkeys(each["model"] for each in rows if not each["error"]))

    # In memory

    @contextmanager
    def loading(self, name: str | None) -> Iterator[Iterator[Part]]:
        """The progress of a load, shown meanwhile; leaving the block early gives the load up."""
        provider, model = self._place(name)
        with self._runtime.watching(provider.load(model), model) as parts:
            yield parts

    def load(self, name: str | None) -> Ready:
        """Get a model ready."""
        with self.loading(name) as parts:
            return last(parts, Ready)

    def unload(self, name: str, *, force: bool = False) -> int:
        """End the processes that hold a model; how many there were."""
        return self._runtime.engine.unload(named(name)[1], force=force)

    def count(self, said: str | Sequence[Message], name: str | None) -> Tokens:
        """The tokens of a text, or of a conversation as the model reads it."""
        provider, model = self._place(name)
        return self._wait(provider.tokenize(model, said), model, Tokens)

    def embed(self, texts: Sequence[str], name: str | None) -> Embeddings:
        """A vector for each text."""
        provider, model = self._place(name)
        return self._wait(provider.embed(model, texts), model, Embeddings)

    def _wait(self, work: Generation, model: str, kind: type[_T]) -> _T:
        with self._runtime.watching(work, model) as parts:
            return last(parts, kind)

    def _wanted(self, name: str) -> ModelSpec:
        """What to pull, with its backend, if this profile and the administrator allow it.

        Raises:
            InvalidModelSpec: The name does not follow the grammar.
            ProviderError: The profile has no such backend, it pulls no models, or the model is not
                allowed.
        """
        wanted = spec.parse(name)
        if wanted.kind == "path":
            raise RequestError(
                f"{name} is a path: what lies there needs no pull.",
                hint=f"Load it: %model_load {spec.typed(name)}",
            )
        backend = wanted.backend or wanted.provider or self._default_backend()
        settings = self._runtime.provider(backend).settings
        if settings.provider_type not in spec.BACKENDS:
            raise ProviderError(
                f"Provider '{backend}' does not support model management.",
                hint="Name a model with @candle or @ollama; %model_available shows some.",
                data={"provider": backend},
            )
        self._runtime.profile.policy.check_model(backend, wanted.id)
        # The profile may give a backend another name.
        return replace(wanted, backend=settings.provider_type, provider=None)

    def _default_backend(self) -> str:
        name = self._runtime.default_provider()
        chosen = self._runtime.providers.get(name)
        is_server = chosen is not None and chosen.settings.provider_type == "ollama"
        return name if is_server else "candle"

    def _place(self, name: str | None) -> tuple[Provider, str]:
        return self._runtime.place(*((None, None) if name is None else named(name)))


def last(parts: Iterator[Part], kind: type[_T]) -> _T:
    """The result at the end of the parts.

    Raises:
        Interrupted: There is none, because the work was stopped.
    """
    found = next(iter(deque(parts, maxlen=1)), None)
    if not isinstance(found, kind):
        raise Interrupted("Stopped while it waited for the engine.")
    return found


def complete(steps: Iterator[PullProgress]) -> PullProgress:
    """The last progress of a pull or a check that went well.

    Raises:
        Interrupted: It was cancelled.
    """
    found = next(iter(deque(steps, maxlen=1)), None)
    if found is None or found.phase is not PullPhase.COMPLETE:
        raise Interrupted("Stopped; what has come is kept.")
    return found


def _plain(name: str) -> str:
    """A model as the engine finds it: the grammar checked, a path from the root.

    Raises:
        InvalidModelSpec: The name does not follow the grammar.
    """
    provider, model = named(name)
    return f"{model}@ollama" if provider == "ollama" else model
