"""A T5 model as CTranslate2 wants it, made from its safetensors without another library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from llmspell_jupyter.engine.backends._ctranslate2.library import specs, token_name
from llmspell_jupyter.engine.backends._ctranslate2.weights import blocks, whole
from llmspell_jupyter.engine.backends._t5 import tensors
from llmspell_jupyter.engine.backends._t5.config import T5Config
from llmspell_jupyter.models.folder import ModelFolder

# Names of ctranslate2.specs.Activation.
_ACTIVATIONS = {
    "relu": "RELU",
    "gelu": "GELU",
    "gelu_new": "GELUTanh",
    "silu": "SWISH",
    "swish": "SWISH",
}


def write_model(
    folder: ModelFolder,
    config: T5Config,
    target: Path,
    *,
    int8: bool,
    progress: Callable[[float], None],
) -> None:
    """Write a model for CTranslate2.

    Never holds more than the converted weights and a tensor in memory.

    Args:
        folder: The safetensors model, its tensors checked against its shape.
        config: Its shape.
        target: Folder for the files, empty.
        int8: Each row of a matrix as 8-bit integers with a scale; else all as 32-bit floats.
        progress: Told how much is done, from 0 to 1.

    Raises:
        BadModelFile: A file of it is being changed.
        OSError: The files cannot be written.
    """
    _Converter(folder, config, int8=int8, progress=progress).convert().save(str(target))
    progress(1.0)


class _Converter:
    """Fills a specification, one layer after the other."""

    def __init__(
        self,
        folder: ModelFolder,
        config: T5Config,
        *,
        int8: bool,
        progress: Callable[[float], None],
    ):
        self._tensors = folder.tensors
        self._config = config
        self._int8 = int8
        self._progress = progress
        self._total = sum(each.size for each in folder.tensors.values())
        self._done = 0

    def convert(self) -> Any:
        """The specification with all weights."""
        config, lib = self._config, specs()
        spec = lib.TransformerSpec.from_config(
            (config.encoder_layers, config.decoder_layers),
            config.heads,
            pre_norm=True,
            activation=getattr(lib.Activation, _ACTIVATIONS[config.activation]),
            ffn_glu=config.gated,
            relative_attention_bias=True,
            rms_norm=True,
        )
        self._embeddings(spec)
        self._stack(spec.encoder, "encoder")
        self._stack(spec.decoder, "decoder")
        names = [token_name(number) for number in range(config.vocab_size)]
        spec.register_source_vocabulary(names)
        spec.register_target_vocabulary(names)
        spec.config.bos_token = spec.config.decoder_start_token = names[config.start]
        # A prompt of nothing but the end token would be answered with nothing, unread; what ends
        # an answer is said with each request. Every token has a name, so none is unknown.
        spec.config.eos_token = spec.config.unk_token = names[config.pad]
        spec.config.add_attribute("layer_norm_epsilon", config.epsilon)
        spec.validate()
        spec.optimize()  # Matrices that are the same are written once.
        return spec

    def _embeddings(self, spec: Any) -> None:
        names = self._tensors.keys()
        made: dict[str, Any] = {}
        for layer, name in (
            (spec.encoder.embeddings[0], tensors.encoder_embedding(names)),
            (spec.decoder.embeddings, tensors.decoder_embedding(names)),
            (spec.decoder.projection, tensors.head(names)),
        ):
            if name not in made:
                self._matrix(layer, name)
                made[name] = layer
            layer.weight, layer.weight_scale = made[name].weight, made[name].weight_scale
        spec.encoder.scale_embeddings = spec.decoder.scale_embeddings = False
        if self._config.scaled:
            spec.decoder.scale_outputs = self._config.d_model**-0.5

    def _stack(self, stack: Any, side: str) -> None:
        self._norm(stack.layer_norm, f"{side}.final_layer_norm.")
        bias = None
        for number, layer in enumerate(stack.layer):
            parts = [tensors.block(side, number, part) for part in range(3)]
            attention = layer.self_attention
            self._attention(attention, f"{parts[0]}SelfAttention.", "qkv", "o")
            self._norm(attention.layer_norm, f"{parts[0]}layer_norm.")
            if bias is None or self._config.biased_layers:
                bias = self._vector(f"{parts[0]}SelfAttention.relative_attention_bias.weight")
            attention.relative_attention_bias = bias
            attention.relative_attention_max_distance = np.int32(self._config.max_distance)
            if side == "decoder":
                self._attention(layer.attention, f"{parts[1]}EncDecAttention.", "q", "kv", "o")
                self._norm(layer.attention.layer_norm, f"{parts[1]}layer_norm.")
            self._feed_forward(layer.ffn, parts[2] if side == "decoder" else parts[1])

    def _attention(self, spec: Any, name: str, *groups: str) -> None:
        """Matrices of one attention; those of a group are one below the other."""
        spec.queries_scale = 1.0  # T5 has it in its weights.
        for linear, group in zip(spec.linear, groups, strict=True):
            self._matrix(linear, *(f"{name}{each}.weight" for each in group))

    def _feed_forward(self, spec: Any, name: str) -> None:
        dense = f"{name}DenseReluDense."
        if self._config.gated:
            self._matrix(spec.linear_0, f"{dense}wi_0.weight")
            self._matrix(spec.linear_0_noact, f"{dense}wi_1.weight")
        else:
            self._matrix(spec.linear_0, f"{dense}wi.weight")
        self._matrix(spec.linear_1, f"{dense}wo.weight")
        self._norm(spec.layer_norm, f"{name}layer_norm.")

    def _norm(self, spec: Any, name: str) -> None:
        spec.gamma = self._vector(f"{name}weight")

    def _vector(self, name: str) -> Any:
        return whole(self._tensors[name])

    def _matrix(self, spec: Any, *names: str) -> None:
        values, scales = [], []
        for name in names:
            for block in blocks(self._tensors[name]):
                if self._int8:
                    numbers, scale = _as_int8(block)
                    values.append(numbers)
                    scales.append(scale)
                else:
                    values.append(block)
            self._done += self._tensors[name].size
            self._progress(min(1.0, self._done / self._total))
        spec.weight = np.concatenate(values)
        if self._int8:
            spec.weight_scale = np.concatenate(scales)


def _as_int8(rows: Any) -> tuple[Any, Any]:
    """Rows as 8-bit integers, and what each was multiplied by."""
    largest = np.abs(rows).max(axis=1)
    # Also a row so close to 0 that its scale would be no 32-bit float.
    largest[largest < 1e-35] = 127
    scale = (127 / largest).astype(np.float32)
    return np.rint(rows * scale[:, None]).astype(np.int8), scale
