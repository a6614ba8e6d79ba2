"""What a model is, and where to look for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

#: Where a model lies.
StoreKind = Literal["bundled", "folder", "path", "hub", "shared", "ollama", "none"]

#: Backends of this machine by name; a synonym stands for the name beside it.
BACKENDS = {"candle": "candle", "local": "candle", "ollama": "ollama"}

#: Prefixes of ``provider/model``. Any other text before a slash belongs to the model's name.
PROVIDERS = frozenset(
    {
        *BACKENDS,
        *("openai", "anthropic", "cohere", "gemini", "groq", "mistral"),
        *("perplexity", "together", "replicate", "fireworks"),
    }
)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model as the user names it; ``models.spec`` reads it and says what there is.

    Attributes:
        name: Model name, such as ``smollm2``; ``owner/name`` of a repository; a path.
        variant: A size (``135m``), a quantisation (``Q4_K_M``) or ``size-quantisation``; of a
            repository a quantisation or the path of a file in it.
        backend: ``candle`` (the engine of this package) or ``ollama``; None when not named.
        kind: What the name is.
        provider: A provider that is not a backend of this machine, such as ``openai``.
    """

    name: str
    variant: str | None = None
    backend: str | None = None
    kind: Literal["name", "repository", "path"] = "name"
    provider: str | None = None

    @property
    def id(self) -> str:
        """The spec without backend and provider, as listings show it."""
        text = f"{self.name}:{self.variant}" if self.variant else self.name
        owner, slash, _ = self.name.partition("/")
        # Without the hub's name these would be read as something else.
        if self.kind == "repository" and (not slash or owner.lower() in PROVIDERS):
            return f"hf.co/{text}"
        return text

    def __str__(self) -> str:
        text = f"{self.name}:{self.variant}" if self.variant else self.name
        if self.kind == "repository":
            text = f"hf.co/{text}"
        elif self.provider:
            text = f"{self.provider}/{text}"
        elif "/" in self.name and self.name.partition("/")[0].lower() in BACKENDS:
            # Ollama's name begins with a word that alone would be read as the backend.
            text = f"ollama/{text}"
        return f"{text}@{self.backend}" if self.backend else text


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model on this machine.

    Attributes:
        id: ``name:variant`` as it is typed.
        backend: Backend that runs it.
        path: The weights file of a GGUF model, the folder of a safetensors model.
        format: ``GGUF`` or ``safetensors``; ``echo`` has no files.
        size_bytes: Size of its weights on disk.
        modified_at: Time of last change, seconds since the epoch.
        architecture: What its files say it is, such as ``llama`` or ``t5``; None when unreadable.
        quantization: Such as ``Q4_1``, ``F32`` or ``BF16``; None when the files do not say.
        parameter_count: Number of weights; None when unreadable.
        context_length: Tokens the model was trained to hold; None when unknown.
        store: Where it lies: ``bundled`` inside an installed Python package, ``folder`` (a folder
            that is searched by name), ``path`` (named by its path), ``hub`` (the user's own store,
            laid out as the Hugging Face cache), ``shared`` (such a store that only an
            administrator writes to), ``ollama`` (Ollama's files), or ``none`` (it has no files).
        repository: Repository on the hub that it came from, ``owner/name``; None when unknown.
        revision: Commit of the repository; None when unknown.
        license: SPDX identifier, lower-case, as its files or the catalog say; None when unknown.
    """

    id: str
    backend: str
    path: Path
    format: str
    size_bytes: int
    modified_at: int
    architecture: str | None = None
    quantization: str | None = None
    parameter_count: int | None = None
    context_length: int | None = None
    store: StoreKind = "folder"
    repository: str | None = None
    revision: str | None = None
    license: str | None = None

    @property
    def bundled(self) -> bool:
        """Whether it came inside an installed Python package."""
        return self.store == "bundled"


@dataclass(frozen=True, slots=True)
class Lookup:
    """How a model's name becomes a model of this machine.

    Attributes:
        folders: Folders that are searched before those of the engine, in this order.
        quantization: Taken when the name leaves it open and several fit.
        caches: Stores laid out as the Hugging Face cache, searched before those of the engine.
            What is pulled goes into the first.
        catalogs: Files of catalogs that are read before those of the engine.
        ollama_store: Folder of Ollama's files; empty is the engine's.
    """

    folders: tuple[str, ...] = ()
    quantization: str = "Q4_K_M"
    caches: tuple[str, ...] = ()
    catalogs: tuple[str, ...] = ()
    ollama_store: str = ""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where models are fetched from, as the configuration of whoever asks says.

    Attributes:
        endpoint: Address of the hub, without a slash at its end.
        token: Token for the hub; None asks without one. Never shown.
        offline: Ask no network at all.
        hosts: Hosts beside the endpoint's that files may be fetched from, ``name`` or
            ``name:port``; ``*.name`` stands for all below it.
        bytes_per_second: Most for all downloads together; 0 is no limit.
        ollama_url: Address of the Ollama server, without a slash at its end.
    """

    endpoint: str = "https://huggingface.co"
    token: str | None = field(default=None, repr=False)
    offline: bool = False
    hosts: tuple[str, ...] = ("*.hf.co", "*.huggingface.co")
    bytes_per_second: int = 0
    ollama_url: str = "http://127.0.0.1:11434"


@dataclass(frozen=True, slots=True)
class AvailableModel:
    """A model that can be had.

    Attributes:
        id: What to write after ``%model_pull``.
        backend: Backend that would run it.
        origin: Where it was found: ``catalog``, ``bundled``, ``ollama`` or ``hub``.
        title: One line about it, plain text; may be empty.
        repository: On the hub, ``owner/name``; None for models of Ollama's.
        quantizations: What there is of it, the usual one first; empty when unknown.
        size_bytes: Of the usual one; None when unknown.
        parameter_count: Number of weights; None when unknown.
        license: SPDX identifier, lower-case, or what the source says; None when unknown.
        context_length: Tokens; None when unknown.
        architecture: As in ``ModelInfo``; None when unknown.
        tasks: What it does: ``generate``, ``embed``; empty when unknown.
        gated: Its owner wants a token and an accepted licence.
        downloads: How often it was fetched of late; None when unknown.
        installed: It is on this machine.
    """

    id: str
    backend: str
    origin: Literal["catalog", "bundled", "ollama", "hub"]
    title: str = ""
    repository: str | None = None
    quantizations: tuple[str, ...] = ()
    size_bytes: int | None = None
    parameter_count: int | None = None
    license: str | None = None
    context_length: int | None = None
    architecture: str | None = None
    tasks: tuple[str, ...] = ()
    gated: bool = False
    downloads: int | None = None
    installed: bool = False


@dataclass(frozen=True, slots=True)
class Availability:
    """What can be had, and why some of it may be missing here.

    Attributes:
        models: Those of the catalog first.
        notes: A line for each source that could not be asked.
    """

    models: tuple[AvailableModel, ...]
    notes: tuple[str, ...] = ()
