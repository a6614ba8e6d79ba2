"""What the engine is asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from llmspell_jupyter.types.models import Lookup


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
