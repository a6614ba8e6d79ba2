"""T5 in torch: an encoder that reads a prompt once, and a decoder for many answers at a time.

After "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
https://arxiv.org/abs/1910.10683. Attention is not scaled; its biases depend on the distance of
two tokens alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from llmspell_jupyter.engine.backends._t5.config import T5Config
from llmspell_jupyter.engine.backends._t5.tensors import block
from llmspell_jupyter.engine.backends._torch.library import torch
from llmspell_jupyter.engine.backends._torch.linear import Linear
from llmspell_jupyter.engine.backends._torch.t5_cache import Cache
from llmspell_jupyter.engine.backends._torch.t5_weights import Weights

# Queries whose attention is computed at a time: with all of a long prompt at once, position
# biases alone would take gigabytes.
_QUERIES = 512


@dataclass(frozen=True, slots=True)
class _Attention:
    """Self attention; ``bias`` is ``(heads, buckets)``, or None for that of the first layer."""

    norm: Any
    inputs: Linear
    output: Linear
    bias: Any


@dataclass(frozen=True, slots=True)
class _Cross:
    """Attention of an answer to its prompt."""

    norm: Any
    query: Linear
    output: Linear


@dataclass(frozen=True, slots=True)
class _FeedForward:
    norm: Any
    inputs: Linear
    output: Linear


class T5:
    """A T5 model with its weights.

    Args:
        config: Its shape.
        weights: Its tensors, which were checked against the shape.
        names: Tensors that embed what is read and what is written, and that give logits.
    """

    def __init__(self, config: T5Config, weights: Weights, names: tuple[str, str, str]):
        self._config = config
        self._functions = torch().nn.functional
        self._activate = _activation(config.activation)
        self._residual = weights.residual
        self._half = weights.dtype if weights.dtype != torch().float32 else None
        self._read_embedding = weights.embedding(names[0])
        self._embedding = (
            self._read_embedding if names[0] == names[1] else weights.embedding(names[1])
        )
        self._encoder = [
            (
                self._attention(weights, "encoder", number),
                self._feed_forward(weights, "encoder", number, 1),
            )
            for number in range(config.encoder_layers)
        ]
        self._encoder_norm = weights.vector("encoder.final_layer_norm.weight")
        self._decoder = [
            (
                self._attention(weights, "decoder", number),
                self._cross(weights, number),
                self._feed_forward(weights, "decoder", number, 2),
            )
            for number in range(config.decoder_layers)
        ]
        self._memory = [
            weights.linear(
                *(f"{block('decoder', number, 1)}EncDecAttention.{m}.weight" for m in "kv")
            )
            for number in range(config.decoder_layers)
        ]
        self._decoder_norm = weights.vector("decoder.final_layer_norm.weight")
        self._head = weights.head(names[2])
        self._near: list[Any] = []

    def read(self, tokens: Sequence[int]) -> Generator[float, None, Any]:
        """Read a prompt.

        Yields:
            Before each part of the work the share that is done.

        Returns:
            Its keys and values for ``Cache.join``.
        """
        lib, config = torch(), self._config
        x = self._read_embedding[lib.tensor(tokens, device=self._read_embedding.device)]
        x = x.to(self._residual)
        length = len(tokens)
        starts = range(0, length, _QUERIES)
        parts = len(self._encoder) * len(starts)
        distances = lib.arange(1 - length, length, device=x.device)
        table = bias = None
        for number, (attention, feed_forward) in enumerate(self._encoder):
            query, key, value = (
                attention.inputs(self._norm(x, attention.norm))
                .view(length, 3, config.heads, config.d_kv)
                .permute(1, 2, 0, 3)
            )
            if attention.bias is not None:
                table = attention.bias[:, self._buckets(distances, both_ways=True)]
                bias = None
            mixed = []
            for at, start in enumerate(starts):
                yield (number * len(starts) + at) / parts
                if bias is None or len(starts) > 1:
                    bias = self._slide(table, start, min(start + _QUERIES, length), length)
                mixed.append(self._attend(query[:, start : start + _QUERIES], key, value, bias))
            x = attention.output.onto(lib.cat(mixed) if len(mixed) > 1 else mixed[0], x)
            x = self._forward(feed_forward, x)
        x = self._norm(x, self._encoder_norm)
        read = [
            each(x).view(length, 2, config.heads, config.d_kv).permute(1, 2, 0, 3)
            for each in self._memory
        ]
        return lib.stack(read)

    def write(self, cache: Cache, tokens: Sequence[int]) -> Any:
        """Advance every row by one token.

        Args:
            cache: What was written so far; these tokens are added.
            tokens: The newest token of each row.

        Returns:
            Logits for the next ones, ``(rows, vocab_size)``, 32-bit floating-point numbers.
        """
        config, attend = self._config, self._functions.scaled_dot_product_attention
        rows, heads, width = len(tokens), config.heads, config.d_kv
        inner = heads * width
        cache.advance()
        begin, end = cache.begin, cache.end
        hidden, unread = cache.hidden(), cache.unread()
        own, read = cache.own.unbind(0), cache.read.unbind(0)
        biases = self._biases(end - begin)
        mask = None
        x = self._embedding[torch().tensor(tokens, device=self._embedding.device)]
        x = x.to(self._residual)
        for number, (attention, cross, feed_forward) in enumerate(self._decoder):
            query, key, value = (
                attention.inputs(self._norm(x, attention.norm))
                .view(rows, 3, heads, 1, width)
                .unbind(1)
            )
            keys, values = own[number].unbind(0)
            keys[:, :, end - 1 : end] = key
            values[:, :, end - 1 : end] = value
            if attention.bias is not None:
                mask = biases[number] if hidden is None else biases[number] + hidden
            mixed = attend(
                query, keys[:, :, begin:end], values[:, :, begin:end], attn_mask=mask, scale=1.0
            )
            x = attention.output.onto(mixed.reshape(rows, inner), x)
            query = cross.query(self._norm(x, cross.norm)).view(rows, heads, 1, width)
            mixed = attend(query, *read[number].unbind(0), attn_mask=unread, scale=1.0)
            x = cross.output.onto(mixed.reshape(rows, inner), x)
            x = self._forward(feed_forward, x)
        x = self._norm(x, self._decoder_norm)
        if config.scaled:
            x = x * config.d_model**-0.5
        return self._head(x).float()

    def _attention(self, weights: Weights, side: str, number: int) -> _Attention:
        begin = block(side, number, 0)
        matrix = begin + "SelfAttention.{}.weight"
        bias = None
        if number == 0 or self._config.biased_layers:
            name = begin + "SelfAttention.relative_attention_bias.weight"
            bias = weights.vector(name).t().contiguous()
        quantized = side == "decoder"
        return _Attention(
            weights.vector(begin + "layer_norm.weight"),
            weights.linear(*(matrix.format(each) for each in "qkv"), quantized=quantized),
            weights.linear(matrix.format("o"), quantized=quantized),
            bias,
        )

    def _cross(self, weights: Weights, number: int) -> _Cross:
        begin = block("decoder", number, 1)
        return _Cross(
            weights.vector(begin + "layer_norm.weight"),
            weights.linear(begin + "EncDecAttention.q.weight", quantized=True),
            weights.linear(begin + "EncDecAttention.o.weight", quantized=True),
        )

    def _feed_forward(self, weights: Weights, side: str, number: int, part: int) -> _FeedForward:
        begin = block(side, number, part)
        inputs = ("wi_0", "wi_1") if self._config.gated else ("wi",)
        names = [f"{begin}DenseReluDense.{each}.weight" for each in inputs]
        quantized = side == "decoder"
        return _FeedForward(
            weights.vector(begin + "layer_norm.weight"),
            weights.linear(*names, quantized=quantized),
            weights.wide(begin + "DenseReluDense.wo.weight", quantized=quantized),
        )

    def _norm(self, x: Any, weight: Any) -> Any:
        epsilon = self._config.epsilon
        if self._half is None:
            return self._functions.rms_norm(x, weight.shape, weight, epsilon)
        # Rounded before the weight is applied, as the models were trained.
        return weight * self._functions.rms_norm(x.float(), weight.shape, None, epsilon).to(
            self._half
        )

    def _forward(self, layer: _FeedForward, x: Any) -> Any:
        inside = layer.inputs(self._norm(x, layer.norm))
        if self._config.gated:
            gate, inside = inside.chunk(2, dim=-1)
            inside = self._activate(gate) * inside
        else:
            inside = self._activate(inside)
        return layer.output.onto(inside, x)

    def _attend(self, query: Any, key: Any, value: Any, bias: Any) -> Any:
        mixed = self._functions.scaled_dot_product_attention(
            query[None], key[None], value[None], attn_mask=bias, scale=1.0
        )
        return mixed[0].transpose(0, 1).reshape(query.shape[1], -1)

    def _slide(self, table: Any, start: int, stop: int, length: int) -> Any:
        """Biases of some queries, ``(1, heads, queries, length)``, from those of all distances."""
        keys = torch().arange(length, device=table.device)
        queries = torch().arange(start, stop, device=table.device)
        return table[:, keys[None] - queries[:, None] + length - 1][None]

    def _biases(self, columns: int) -> list[Any]:
        """For each decoder layer that has some, ``(1, heads, 1, columns)``, the newest last."""
        if not self._near or self._near[0].shape[3] < columns:
            lib = torch()
            span = max(128, 2 * columns)
            distances = lib.arange(1 - span, 1, device=self._embedding.device)
            buckets = self._buckets(distances, both_ways=False)
            self._near = [
                layer[0].bias[:, buckets][None, :, None]
                for layer in self._decoder
                if layer[0].bias is not None
            ]
        return [each[..., each.shape[3] - columns :] for each in self._near]

    def _buckets(self, distances: Any, *, both_ways: bool) -> Any:
        """The bucket of each distance, which is the key's place less the query's."""
        lib, config = torch(), self._config
        buckets = config.buckets // 2 if both_ways else config.buckets
        offset = (distances > 0).long() * buckets if both_ways else 0
        far = distances.abs() if both_ways else (-distances).clamp(min=0)
        exact = buckets // 2
        share = lib.log(far.clamp(min=1).float() / exact) / math.log(config.max_distance / exact)
        logarithmic = (exact + (share * (buckets - exact)).long()).clamp(max=buckets - 1)
        return offset + lib.where(far < exact, far, logarithmic)


def _activation(name: str) -> Callable[[Any], Any]:
    functions = torch().nn.functional
    known: dict[str, Callable[[Any], Any]] = {
        "relu": functions.relu,
        "gelu": functions.gelu,
        "gelu_new": lambda x: functions.gelu(x, approximate="tanh"),
        "silu": functions.silu,
        "swish": functions.silu,
    }
    return known[name]
