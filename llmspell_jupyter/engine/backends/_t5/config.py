"""The shape of a T5 model, as its ``config.json`` says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models.folder import ModelFolder

#: Activations of the feed-forward layers, by the names that ``config.json`` uses.
ACTIVATIONS = frozenset({"relu", "gelu", "gelu_new", "silu", "swish"})

_LARGEST = 2**31 - 1
# Read where neither file of the model names it.
_TRAINED_LENGTH = 512


@dataclass(frozen=True, slots=True)
class T5Config:
    """Shape and special tokens of a T5 model.

    Attributes:
        model_type: ``t5``, ``mt5`` or ``umt5``.
        vocab_size: Rows of the embedding; the tokenizer may know fewer.
        d_model: Width of the model.
        d_kv: Width of an attention head.
        d_ff: Width of the feed-forward layers.
        heads: Attention heads.
        encoder_layers: Layers that read.
        decoder_layers: Layers that write.
        buckets: Relative positions that are told apart.
        max_distance: Distance in tokens from which all are alike.
        epsilon: Added to the variance in a layer norm.
        activation: One of ``ACTIVATIONS``.
        gated: The feed-forward layers have a gate.
        scaled: The decoder's output is scaled by ``d_model ** -0.5`` before the vocabulary.
        biased_layers: Every layer has position biases of its own; else the first one's hold.
        trained_length: Tokens of the texts that it was trained on.
        start: Token with which an answer begins.
        ends: Tokens that end an answer; the first one also ends what is read.
        pad: Token that fills a batch.
    """

    model_type: str
    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    heads: int
    encoder_layers: int
    decoder_layers: int
    buckets: int
    max_distance: int
    epsilon: float
    activation: str
    gated: bool
    scaled: bool
    biased_layers: bool
    trained_length: int
    start: int
    ends: tuple[int, ...]
    pad: int


def read_config(folder: ModelFolder) -> T5Config:
    """The shape of the T5 model in a folder; what is left out is as in the first T5.

    Raises:
        BadModelFile: A value is missing or makes no sense; the message names it.
    """
    read = _Reader(folder.path / "config.json", folder.config)
    activation, gated = _feed_forward(folder)
    vocab_size = read.count("vocab_size")
    layers = read.count("num_layers", 6)
    pad = read.token("pad_token_id", vocab_size, 0)
    generation = folder.json("generation_config.json") or {}
    overrides = _Reader(folder.path / "generation_config.json", generation)
    start = read.token("decoder_start_token_id", vocab_size, pad)
    buckets = read.count("relative_attention_num_buckets", 32, least=4)
    return T5Config(
        model_type=folder.model_type,
        vocab_size=vocab_size,
        d_model=read.count("d_model", 512),
        d_kv=read.count("d_kv", 64),
        d_ff=read.count("d_ff", 2048),
        heads=read.count("num_heads", 8),
        encoder_layers=layers,
        decoder_layers=read.count("num_decoder_layers", layers),
        buckets=buckets,
        # Half of the buckets hold one distance each; the others reach from there on.
        max_distance=read.count("relative_attention_max_distance", 128, least=buckets // 2 + 1),
        epsilon=read.number("layer_norm_epsilon", 1e-6),
        activation=activation,
        gated=gated,
        scaled=_is_scaled(folder),
        biased_layers=folder.model_type == "umt5",
        trained_length=read.count("n_positions", _TRAINED_LENGTH),
        start=overrides.token("decoder_start_token_id", vocab_size, start),
        ends=read.tokens("eos_token_id", vocab_size, 1),
        pad=pad,
    )


def _is_scaled(folder: ModelFolder) -> bool:
    """As in transformers: the first T5 and umt5 do, what came between them does not."""
    if folder.model_type == "t5":
        return folder.config.get("tie_word_embeddings") is not False
    return folder.model_type == "umt5"


def _feed_forward(folder: ModelFolder) -> tuple[str, bool]:
    said = folder.config.get("feed_forward_proj", "relu")
    kind = said if isinstance(said, str) else ""
    gated = kind.startswith("gated-")
    activation = "gelu_new" if kind == "gated-gelu" else kind.removeprefix("gated-")
    if activation not in ACTIVATIONS:
        known = ", ".join(sorted(ACTIVATIONS))
        raise _bad(
            folder.path / "config.json",
            f"feed_forward_proj is {str(said)[:80]!r}; known are {known}, each also with 'gated-'",
        )
    return activation, gated


class _Reader:
    """Values of one file, checked."""

    def __init__(self, path: Path, values: Mapping[str, Any]):
        self._path = path
        self._values = values

    def count(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        value = self._values.get(key)
        value = default if value is None else value
        return self._whole(key, value, least, _LARGEST)

    def number(self, key: str, default: float) -> float:
        value = self._values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise _bad(self._path, f"{key} is {str(value)[:80]}; it must be from 0 to below 1")
        return float(value)

    def token(self, key: str, vocab_size: int, default: int) -> int:
        value = self._values.get(key)
        return self._whole(key, default if value is None else value, 0, vocab_size - 1)

    def tokens(self, key: str, vocab_size: int, default: int) -> tuple[int, ...]:
        value = self._values.get(key)
        values = value if isinstance(value, list) and value else [value]
        return tuple(
            self._whole(key, default if each is None else each, 0, vocab_size - 1)
            for each in values
        )

    def _whole(self, key: str, value: Any, least: int, most: int) -> int:
        if type(value) is not int or not least <= value <= most:
            raise _bad(
                self._path,
                f"{key} is {str(value)[:80]}; it must be a whole number from {least} to {most}",
            )
        return value


def _bad(path: Path, cause: str) -> BadModelFile:
    return BadModelFile(
        f"{path.name} does not describe a T5 model: {cause}.",
        hint="Fetch or copy the model again; %model_list shows the models that can be used.",
        data={"path": str(path), "cause": cause},
    )
