"""Values that cross rooms: frozen, plain, and expressible as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

#: Where a model lies.
StoreKind = Literal["bundled", "folder", "path", "hub", "shared", "ollama", "none"]

#: Why a generation ended.
FinishReason = Literal["stop", "length", "cancelled"]


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
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    Not every backend has every control; one that is set and that a backend lacks is refused.

    Attributes:
        temperature: 0 takes the likeliest token; larger is more varied. None is what suits the
            model: 0.7 for models that chat or continue text, 0 for those that translate.
        top_p: Keep the likeliest tokens that together hold this probability; 1 is off.
        top_k: Keep this many of the likeliest tokens; 0 is off.
        min_p: Drop tokens less likely than this share of the likeliest; 0 is off.
        typical_p: Keep the most typical tokens that together hold this probability; 1 is off.
        top_n_sigma: Keep tokens whose logit is within so many standard deviations of the
            largest; 0 is off.
        repeat_penalty: Divides the logits of recent tokens; 1 is off. None is 1.1, and 1 for
            models that translate.
        repeat_last_n: How many recent tokens count as recent; -1 means the whole context.
        presence_penalty: Taken off the logit of each recent token; 0 is off.
        frequency_penalty: Taken off the logit of a recent token for each time it occurs; 0 is off.
        dry_multiplier: Strength of the penalty on repeated sequences (DRY); 0 is off.
        dry_base: Base of its growth with the length of the sequence.
        dry_allowed_length: Longest repeated sequence without a penalty, in tokens.
        dry_penalty_last_n: Tokens that are searched for repetitions; -1 means the whole context.
        dry_sequence_breakers: Texts over which no repetition reaches.
        xtc_probability: How likely the top choices are left out (XTC); 0 is off.
        xtc_threshold: Probability from which a token counts as one of them.
        dynatemp_range: The temperature varies by so much with the entropy; 0 is off.
        dynatemp_exponent: How the entropy counts in that.
        mirostat: 1 or 2 aims at a constant surprise instead of the filters above; 0 is off.
        mirostat_tau: The surprise it aims at.
        mirostat_eta: How fast it learns.
        logit_bias: Token ids and what is added to their logits.
        num_beams: Texts that a beam search follows; 1 is no search.
        length_penalty: Exponent of the length in the score of a beam; larger prefers longer texts.
        seed: Seed of the draw; None draws a fresh one, which the metadata reports.
    """

    temperature: float | None = None
    top_p: float = 0.9
    top_k: int = 40
    min_p: float = 0.0
    typical_p: float = 1.0
    top_n_sigma: float = 0.0
    repeat_penalty: float | None = None
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    logit_bias: tuple[tuple[int, float], ...] = ()
    num_beams: int = 1
    length_penalty: float = 1.0
    seed: int | None = None


#: What may compute, as profiles name it.
DeviceName = Literal["auto", "cpu", "cuda", "metal"]

#: How numbers of safetensors weights are held; ``auto`` is what suits the device.
DType = Literal["auto", "float32", "bfloat16", "float16", "int8"]

#: How llama.cpp holds what it remembers of a text.
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is loaded; requests that differ in these use separate workers.

    Attributes:
        context_size: Tokens of context; 0 means what the model was trained for.
        batch_size: Prompt tokens read at a time.
        cpu_threads: Threads for reading prompts; 0 means one for each usable core. Answering
            uses one fewer when there are several, because llama.cpp slows down to a tenth
            when a thread of it has to wait for a core.
        max_concurrent: Answers that are written at a time. A GGUF model's share one context,
            1,024 tokens longer for each beyond the first, at most twice ``context_size``; who
            does not fit waits.
        device: What computes.
        dtype: How the weights of a safetensors model are held.
        gpu_layers: Layers of a GGUF model that go to the GPU; -1 means all.
        flash_attention: Compute attention the fast way where the model and the device can.
        cache_type: How a GGUF model's context is held.
    """

    context_size: int = 4096
    batch_size: int = 512
    cpu_threads: int = 0
    max_concurrent: int = 8
    device: DeviceName = "auto"
    dtype: DType = "auto"
    gpu_layers: int = -1
    flash_attention: bool = True
    cache_type: CacheType = "f16"


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
class GenerationRequest:
    """What a model is asked to write.

    Exactly one of ``messages`` (rendered by the model's own chat template) and ``prompt``
    (taken as it stands) is set.

    Attributes:
        model: Model spec, or the absolute path of a model.
        max_tokens: Most tokens to write.
        stop: Strings that end the answer; they are not part of it.
        persona: Instructions for a chat model whose messages hold none; a model without a chat
            template, such as a translator, is not given them.
        grammar: GBNF grammar that the answer follows; None is free text.
        json_schema: JSON Schema that the answer follows, ``{}`` being any JSON value; None is
            free text. Not together with ``grammar``.
        logprobs: How many alternatives to report for each token beside its own log-probability;
            None reports nothing.
    """

    model: str
    messages: tuple[Message, ...] | None = None
    prompt: str | None = None
    max_tokens: int = 512
    stop: tuple[str, ...] = ()
    persona: str | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None
    logprobs: int | None = None
    sampling: Sampling = field(default_factory=Sampling)
    options: LoadOptions = field(default_factory=LoadOptions)
    lookup: Lookup = field(default_factory=Lookup)


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts to turn into vectors.

    Attributes:
        model: Model spec, or the absolute path of a model.
        texts: What to embed.
        dimensions: Length to which the vectors are cut; None leaves them whole. Only for models
            that were trained for it does a shorter vector keep its meaning.
    """

    model: str
    texts: tuple[str, ...]
    dimensions: int | None = None
    options: LoadOptions = field(default_factory=LoadOptions)
    lookup: Lookup = field(default_factory=Lookup)


@dataclass(frozen=True, slots=True)
class TokenizeRequest:
    """Text to split into a model's tokens: either a plain ``prompt`` or ``messages``.

    Attributes:
        model: Model spec, or the absolute path of a model.
    """

    model: str
    messages: tuple[Message, ...] | None = None
    prompt: str | None = None
    options: LoadOptions = field(default_factory=LoadOptions)
    lookup: Lookup = field(default_factory=Lookup)


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """A model to get ready before it is asked anything.

    Attributes:
        model: Model spec, or the absolute path of a model.
    """

    model: str
    options: LoadOptions = field(default_factory=LoadOptions)
    lookup: Lookup = field(default_factory=Lookup)


#: What a backend is asked.
ModelRequest = GenerationRequest | EmbeddingRequest | TokenizeRequest

#: What the engine is asked.
EngineRequest = ModelRequest | LoadRequest


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A model to fetch.

    Attributes:
        model: Model spec: a catalog name, a repository, or a model of Ollama's.
        quantization: Which files of a repository to take, such as ``Q5_K_M``; None is what the
            spec says, else ``lookup.quantization``, else what is there.
        revision: Branch, tag or commit; None is the repository's main branch.
        force: Fetch again what is there already.
        bytes_per_second: Most for this download; 0 is no limit of its own.
        locked: Path and SHA-256 of every file that must come, as a lock file says; empty takes
            what the repository has.
    """

    model: str
    quantization: str | None = None
    revision: str | None = None
    force: bool = False
    bytes_per_second: int = 0
    locked: tuple[tuple[str, str], ...] = ()
    lookup: Lookup = field(default_factory=Lookup)
    sources: Sources = field(default_factory=Sources)


class PullPhase(StrEnum):
    """Where a job stands that fetches or checks a model."""

    STARTING = "starting"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class FileProgress:
    """A file of a pull, in bytes; the total is None while it is unknown."""

    path: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull or a verification is.

    ``done`` never shrinks: it counts what is safely on disk and would be kept by a kill.

    Attributes:
        model: Id that the model has, or will have, on this machine.
        phase: Where it stands; the last one of a stream is ``complete``.
        done: Bytes done.
        total: Bytes in all; None while unknown.
        bytes_per_second: Over the last seconds; None while unknown.
        seconds_left: None while unknown.
        files: Its files, in the order in which they are listed.
        note: What the user should know, such as that a server is silent and is asked again.
        job: Id of the engine's job; empty outside an engine.
        metadata: Of a complete one: ``{repository, revision, path, files, bytes, downloaded,
            seconds}``, JSON values; ``downloaded`` are bytes that came over the network now.
    """

    model: str
    phase: PullPhase
    done: int = 0
    total: int | None = None
    bytes_per_second: float | None = None
    seconds_left: float | None = None
    files: tuple[FileProgress, ...] = ()
    note: str = ""
    job: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def percent(self) -> int | None:
        """Share that is done, rounded down; None when unknown."""
        return self.done * 100 // self.total if self.total else None


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


#: ``green`` fits as it is; ``amber`` fits with less context, once idle models leave, or is slow;
#: ``red`` does not fit.
Light = Literal["green", "amber", "red"]


@dataclass(frozen=True, slots=True)
class ContextFit:
    """Whether a model fits into memory with so much context.

    Attributes:
        context: Tokens.
        need: Bytes that it takes then.
        fits: Whether there is room, once idle models have left.
    """

    context: int
    need: int
    fits: bool


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second that are to be expected of an answer.

    Attributes:
        low: What it will hardly fall below.
        expected: With a short conversation behind it.
        high: What it will hardly exceed.
        full: With all of the wanted context behind it; None when unknown.
        prompt: Tokens a second with which a prompt is read; None when unknown.
        measured: Whether answers of this very model were measured, and not only the machine.
    """

    low: float
    expected: float
    high: float
    full: float | None = None
    prompt: float | None = None
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits on this machine and how fast it will be, before it is fetched.

    Attributes:
        model: Its id.
        light: All of it in one word.
        device: What would compute.
        quantization: Such as ``Q4_K_M``; None when unknown.
        size_bytes: Size of its weights.
        context: Tokens of context that are wanted.
        need: Bytes of memory that it takes with them.
        contexts: The same for other lengths, up to that for which it was trained.
        largest_context: Most tokens with which it fits; None when it fits with none.
        free: Bytes of memory that are free while idle models stay.
        free_where: What bounds them, to follow "are free".
        idle: Bytes more once all idle models have left.
        disk_need: Bytes that are still to be fetched; 0 for a model of this machine.
        disk_free: Bytes free where they would lie; None when unknown.
        speed: Tokens a second; None when nothing was measured.
        speed_note: Where the speed comes from, or why there is none.
        reasons: Lines that say why the light is what it is.
        source: What the figures were read from.
    """

    model: str
    light: Light
    device: str
    quantization: str | None
    size_bytes: int
    context: int
    need: int
    contexts: tuple[ContextFit, ...]
    largest_context: int | None
    free: int
    free_where: str
    idle: int
    disk_need: int
    disk_free: int | None
    speed: Speed | None
    speed_note: str
    reasons: tuple[str, ...]
    source: Literal["files", "catalog", "remote header", "size"]


class Phase(StrEnum):
    """Where a generation stands."""

    QUEUED = "queued"
    LOADING = "loading"
    READING = "reading the prompt"
    ANSWERING = "answering"


@dataclass(frozen=True, slots=True)
class Progress:
    """A sign of life between chunks.

    Attributes:
        phase: What is going on.
        done: Units done in this phase: place in the queue, thousandths of a load, or prompt
            tokens read.
        total: Units in all; None when unknown.
        note: What the user should know at once, such as a device that is not the one asked for.
    """

    phase: Phase
    done: int = 0
    total: int | None = None
    note: str = ""

    @property
    def percent(self) -> int | None:
        """Share of the phase that is done; None when unknown."""
        return self.done * 100 // self.total if self.total else None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely a token was.

    Attributes:
        token: Its text; half characters are shown as U+FFFD.
        bytes: Its bytes.
        logprob: Natural logarithm of its probability before any filter or penalty.
        top: The likeliest tokens at its place, the likeliest first.
    """

    token: str
    bytes: tuple[int, ...]
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Text as it appears.

    Attributes:
        text: The new text; may be empty while a character or a stop string is incomplete.
        tokens: Tokens written so far in this answer.
        logprobs: Of the new tokens, if the request asked for them.
    """

    text: str
    tokens: int
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A finished answer.

    Attributes:
        text: The whole text.
        finish_reason: ``stop`` (the model ended it), ``length`` (``max_tokens`` or the context
            ended it) or ``cancelled``.
        metadata: Counts, times in milliseconds and what ran where; JSON values.
        logprobs: Of all tokens, if the request asked for them.
    """

    text: str
    finish_reason: FinishReason
    metadata: dict[str, Any]
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors, one for each text, in their order and of length 1.

    Attributes:
        vectors: Floating-point numbers.
        metadata: As of a completion.
    """

    vectors: tuple[tuple[float, ...], ...]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text as a model reads it.

    Attributes:
        ids: Token ids, those included that the model wants around a prompt.
        metadata: As of a completion, with ``context_size``.
    """

    ids: tuple[int, ...]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ready:
    """A model is loaded.

    Attributes:
        metadata: What ran where, as of a completion, with ``load_ms``; JSON values.
    """

    metadata: dict[str, Any]


#: What ends an engine's answer.
Result = Completion | Embeddings | Tokens | Ready
