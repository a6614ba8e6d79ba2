"""Writes a tiny GGUF model with random weights: valid, fast, and without any meaning.

From a shell: ``python tiny_gguf.py FILE [--template TEXT] [--context N] [--kind llama|t5|bert]``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np

#: A chat template as short as they come; no token of it is special.
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)

_WIDTH, _HEADS, _KEY_HEADS, _INNER, _LAYERS = 32, 4, 2, 96, 2
_WORDS = ["the", "sea", "is", "blue", "and", "deep", "hello", "world", "a", "b", "c", ".", ","]


def write_tiny_gguf(
    path: Path,
    *,
    template: str | None = TEMPLATE,
    context: int = 256,
    kind: str = "llama",
    seed: int = 0,
    change: Callable[[gguf.GGUFWriter], None] | None = None,
) -> Path:
    """Write a model of about 200 KB; the same arguments give the same bytes.

    Args:
        path: File to write.
        template: Its chat template; None for none.
        context: Tokens that it claims to have been trained for.
        kind: ``llama``, or ``t5`` or ``bert``, which no decoder-only backend takes.
        seed: Of the weights.
        change: Called with the writer once all is in it, to make the file wrong.
    """
    writer = gguf.GGUFWriter(str(path), kind)
    writer.add_name("tiny")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(context)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_INNER)
    writer.add_block_count(_LAYERS)
    writer.add_head_count(_HEADS)
    tokens = _add_vocabulary(writer)
    if template is not None:
        writer.add_chat_template(template)
    shapes = {"llama": _llama, "t5": _t5, "bert": _bert}[kind](writer, len(tokens))
    random = np.random.default_rng(seed)
    for name, shape in shapes:
        norm = "norm" in name and name.endswith("weight")
        weights = np.ones(shape) if norm else random.normal(0, 0.3, shape)
        writer.add_tensor(name, weights.astype(np.float32))
    if change is not None:
        change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: gguf.GGUFWriter) -> list[str]:
    special = ["<unk>", "<s>", "</s>"]
    raw = [f"<0x{byte:02X}>" for byte in range(256)]
    words = [f"\u2581{word}" for word in _WORDS] + ["\u2581", *_WORDS]
    tokens = special + raw + words
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.BYTE] * len(raw) + [gguf.TokenType.NORMAL] * len(words)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * 259 + [float(len(word)) for word in words])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    return tokens


Shapes = Iterator[tuple[str, tuple[int, ...]]]


def _llama(writer: gguf.GGUFWriter, vocabulary: int) -> Shapes:
    writer.add_head_count_kv(_KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    yield "token_embd.weight", (vocabulary, _WIDTH)
    for layer in range(_LAYERS):
        yield f"blk.{layer}.attn_norm.weight", (_WIDTH,)
        yield f"blk.{layer}.attn_q.weight", (_WIDTH, _WIDTH)
        yield f"blk.{layer}.attn_k.weight", (_WIDTH * _KEY_HEADS // _HEADS, _WIDTH)
        yield f"blk.{layer}.attn_v.weight", (_WIDTH * _KEY_HEADS // _HEADS, _WIDTH)
        yield f"blk.{layer}.attn_output.weight", (_WIDTH, _WIDTH)
        yield f"blk.{layer}.ffn_norm.weight", (_WIDTH,)
        yield f"blk.{layer}.ffn_gate.weight", (_INNER, _WIDTH)
        yield f"blk.{layer}.ffn_up.weight", (_INNER, _WIDTH)
        yield f"blk.{layer}.ffn_down.weight", (_WIDTH, _INNER)
    yield "output_norm.weight", (_WIDTH,)
    yield "output.weight", (vocabulary, _WIDTH)


def _t5(writer: gguf.GGUFWriter, vocabulary: int) -> Shapes:
    writer.add_key_length(_WIDTH // _HEADS)
    writer.add_value_length(_WIDTH // _HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_relative_attn_buckets_count(32)
    writer.add_decoder_start_token_id(0)
    yield "token_embd.weight", (vocabulary, _WIDTH)
    for side, attentions in (("enc", ("attn",)), ("dec", ("attn", "cross_attn"))):
        for layer in range(_LAYERS):
            for attention in attentions:
                yield f"{side}.blk.{layer}.{attention}_norm.weight", (_WIDTH,)
                for part in "qkvo":
                    yield f"{side}.blk.{layer}.{attention}_{part}.weight", (_WIDTH, _WIDTH)
            if layer == 0:
                yield f"{side}.blk.0.attn_rel_b.weight", (32, _HEADS)
            yield f"{side}.blk.{layer}.ffn_norm.weight", (_WIDTH,)
            yield f"{side}.blk.{layer}.ffn_up.weight", (_INNER, _WIDTH)
            yield f"{side}.blk.{layer}.ffn_down.weight", (_WIDTH, _INNER)
        yield f"{side}.output_norm.weight", (_WIDTH,)
    yield "output.weight", (vocabulary, _WIDTH)


def _bert(writer: gguf.GGUFWriter, vocabulary: int) -> Shapes:
    writer.add_layer_norm_eps(1e-5)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_token_type_count(2)
    yield "token_embd.weight", (vocabulary, _WIDTH)
    yield "position_embd.weight", (256, _WIDTH)
    yield "token_types.weight", (2, _WIDTH)
    yield from _with_bias("token_embd_norm", (_WIDTH,))
    for layer in range(_LAYERS):
        for part in ("q", "k", "v", "output"):
            yield from _with_bias(f"blk.{layer}.attn_{part}", (_WIDTH, _WIDTH))
        yield from _with_bias(f"blk.{layer}.attn_output_norm", (_WIDTH,))
        yield from _with_bias(f"blk.{layer}.ffn_up", (_INNER, _WIDTH))
        yield from _with_bias(f"blk.{layer}.ffn_down", (_WIDTH, _INNER))
        yield from _with_bias(f"blk.{layer}.layer_output_norm", (_WIDTH,))


def _with_bias(name: str, shape: tuple[int, ...]) -> Shapes:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def main() -> None:
    """Write a model as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--template", default=TEMPLATE, help="chat template; empty for none")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--kind", choices=["llama", "t5", "bert"], default="llama")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_tiny_gguf(
        given.file,
        template=given.template or None,
        context=given.context,
        kind=given.kind,
        seed=given.seed,
    )


if __name__ == "__main__":
    main()
