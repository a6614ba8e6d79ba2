"""Which tensors a T5 model has, and their shapes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from llmspell_jupyter.engine.backends._t5.config import T5Config
from llmspell_jupyter.errors import BadModelFile
from llmspell_jupyter.models.folder import ModelFolder

_SHARED = "shared.weight"
_ENCODER = "encoder.embed_tokens.weight"
_DECODER = "decoder.embed_tokens.weight"
_HEAD = "lm_head.weight"

# The first T5 was saved with biases that its cross attention never had.
_UNUSED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"

_FLOATS = frozenset({"F32", "F16", "BF16"})
_MOST_NAMED = 5


def encoder_embedding(tensors: Collection[str]) -> str:
    """Name of the embedding of what is read."""
    return _first(tensors, _ENCODER, _SHARED, _DECODER, _HEAD)


def decoder_embedding(tensors: Collection[str]) -> str:
    """Name of the embedding of what is written."""
    return _first(tensors, _DECODER, _SHARED, _ENCODER, _HEAD)


def head(tensors: Collection[str]) -> str:
    """Name of the matrix that turns the decoder's output into logits."""
    return _first(tensors, _HEAD, _SHARED, _DECODER, _ENCODER)


def block(side: str, number: int, part: int) -> str:
    """What the names of one part of a layer begin with; ``side`` is ``encoder`` or ``decoder``."""
    return f"{side}.block.{number}.layer.{part}."


def check_tensors(folder: ModelFolder, config: T5Config) -> None:
    """Check that the weights are those of the model that ``config.json`` describes.

    Raises:
        BadModelFile: A tensor is missing, too many, of another shape, or holds no floating-point
            numbers; the message names it.
    """
    found = folder.tensors
    expected = dict(_expected(found, config))
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise _bad(folder, f"it lacks {_named(missing)}")
    surplus = sorted(found.keys() - expected.keys() - {_UNUSED})
    if surplus:
        raise _bad(folder, f"it holds {_named(surplus)}, which such a model does not have")
    for name, shape in expected.items():
        tensor = found[name]
        if tensor.shape != shape:
            raise _bad(folder, f"{name} has the shape {tensor.shape}; by config.json it is {shape}")
        if tensor.dtype not in _FLOATS:
            raise _bad(folder, f"{name} holds {tensor.dtype}; known are F32, BF16 and F16")


def _expected(
    found: Mapping[str, object], config: T5Config
) -> Iterator[tuple[str, tuple[int, ...]]]:
    embedding = (config.vocab_size, config.d_model)
    present = [name for name in (_SHARED, _ENCODER, _DECODER, _HEAD) if name in found]
    yield from ((name, embedding) for name in present or [_SHARED])
    for side, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        yield f"{side}.final_layer_norm.weight", (config.d_model,)
        for number in range(layers):
            yield from _layer(config, side, number)


def _layer(config: T5Config, side: str, number: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    attentions = ("SelfAttention",) if side == "encoder" else ("SelfAttention", "EncDecAttention")
    inner = config.heads * config.d_kv
    for part, attention in enumerate(attentions):
        begin = block(side, number, part)
        yield begin + "layer_norm.weight", (config.d_model,)
        for matrix in "qkv":
            yield f"{begin}{attention}.{matrix}.weight", (inner, config.d_model)
        yield f"{begin}{attention}.o.weight", (config.d_model, inner)
    if number == 0 or config.biased_layers:
        name = block(side, number, 0) + "SelfAttention.relative_attention_bias.weight"
        yield name, (config.buckets, config.heads)
    begin = block(side, number, len(attentions))
    yield begin + "layer_norm.weight", (config.d_model,)
    for matrix in ("wi_0", "wi_1") if config.gated else ("wi",):
        yield f"{begin}DenseReluDense.{matrix}.weight", (config.d_ff, config.d_model)
    yield begin + "DenseReluDense.wo.weight", (config.d_model, config.d_ff)


def _first(tensors: Collection[str], *names: str) -> str:
    return next(name for name in names if name in tensors)


def _named(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    shown = ", ".join(name[:200] for name in names[:_MOST_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def _bad(folder: ModelFolder, cause: str) -> BadModelFile:
    return BadModelFile(
        f"The weights in {folder.path.name} are not those of its config.json: {cause}.",
        hint="Fetch or copy the model again; %model_list shows the models that can be used.",
        data={"path": str(folder.path), "cause": cause},
    )
