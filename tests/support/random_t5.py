"""Small T5 models with random weights, written as folders that transformers reads, too."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
import torch
from safetensors.torch import save_file
from tokenizers import decoders, models, pre_tokenizers, processors

#: Text on which small vocabularies are trained.
TEXT = (
    "the quick brown fox jumps over the lazy dog while seven wizards make toxic brew for "
    "the evil queen and jack; a house, a tree and 42 birds are in the garden of the king. "
    "translate English to German: that is good. summarize: studies have shown that owning a "
    "dog is good for you. Über den Wolken muss die Freiheit wohl grenzenlos sein"
)

SENTINELS = 100

#: The shape of t5-small: 60.5 million weights, 242 MB.
T5_SMALL = {
    "vocab_size": 32_128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_decoder_layers": 6,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}


def write_random_t5(
    folder: Path,
    *,
    model_type: str = "t5",
    tokenizer: str = "bytes",
    feed_forward: str = "relu",
    tied: bool = True,
    dtype: torch.dtype = torch.float32,
    shards: int = 1,
    ending: float = 1.0,
    seed: int = 0,
    shape: dict[str, int] | None = None,
) -> Path:
    """Write a model whose answers vary and whose choices are clear.

    Args:
        folder: Where to; it is made.
        model_type: ``t5``, ``mt5`` or ``umt5``.
        tokenizer: ``bytes`` (ByT5), ``spiece`` or ``json``.
        feed_forward: ``feed_forward_proj`` of the configuration.
        tied: One embedding for reading, writing and logits.
        dtype: How the weights are saved.
        shards: Files that hold them.
        ending: Factor of the logits of the token that ends an answer; with more than 1 and
            embeddings that are not tied, answers are of various lengths.
        seed: Of the weights.
        shape: Values of the configuration.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    config: dict[str, Any] = {
        "model_type": model_type,
        "d_model": 64,
        "d_kv": 16,
        "d_ff": 96,
        "num_layers": 3,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "relative_attention_num_buckets": 16,
        "relative_attention_max_distance": 40,
        "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": feed_forward,
        "tie_word_embeddings": tied,
        "vocab_size": write_tokenizer(folder, tokenizer),
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
        **(shape or {}),
    }
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        name: (torch.randn(size, generator=generator) * scale + shift).to(dtype)
        for name, (size, scale, shift) in _tensors(config, tied=tied).items()
    }
    if not tied:
        tensors["lm_head.weight"][config["eos_token_id"]] *= ending
    save_sharded(folder, tensors, shards)
    return folder


def save_sharded(folder: Path, tensors: dict[str, torch.Tensor], shards: int) -> None:
    """Save tensors in one file, or in several with an index."""
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    weight_map = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(tensors.items())[number::shards])
        save_file(part, folder / name, {"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _tensors(
    config: dict[str, Any], *, tied: bool
) -> dict[str, tuple[tuple[int, ...], float, float]]:
    """Shape, spread and mean of each tensor."""
    width, inner, hidden = config["d_model"], config["num_heads"] * config["d_kv"], config["d_ff"]
    embedding = (config["vocab_size"], width)
    found: dict[str, tuple[tuple[int, ...], float, float]] = {"shared.weight": (embedding, 0.3, 0)}
    if not tied:
        found["lm_head.weight"] = (embedding, 1, 0)
    matrices = [("wi_0", hidden, width), ("wi_1", hidden, width)]
    if not config["feed_forward_proj"].startswith("gated"):
        matrices = [("wi", hidden, width)]
    matrices.append(("wo", width, hidden))
    for side, layers in (
        ("encoder", config["num_layers"]),
        ("decoder", config["num_decoder_layers"]),
    ):
        found[f"{side}.final_layer_norm.weight"] = ((width,), 0.1, 1)
        parts = ["SelfAttention"] + (["EncDecAttention"] if side == "decoder" else [])
        for layer in range(layers):
            for part, attention in enumerate([*parts, ""]):
                begin = f"{side}.block.{layer}.layer.{part}."
                found[begin + "layer_norm.weight"] = ((width,), 0.1, 1)
                for name, outputs, inputs in (
                    [(m, inner, width) for m in "qkv"] + [("o", width, inner)]
                    if attention
                    else matrices
                ):
                    spread = 2 / math.sqrt(inputs)
                    if name in "qk":
                        spread = 1 / math.sqrt(inputs * math.sqrt(config["d_kv"]))
                    found[f"{begin}{attention or 'DenseReluDense'}.{name}.weight"] = (
                        (outputs, inputs),
                        spread,
                        0,
                    )
            if layer == 0 or config["model_type"] == "umt5":
                name = f"{side}.block.{layer}.layer.0.SelfAttention.relative_attention_bias.weight"
                size = (config["relative_attention_num_buckets"], config["num_heads"])
                found[name] = (size, 1, 0)
    return found


def write_tokenizer(folder: Path, kind: str) -> int:
    """Write the files of a tokenizer; the size of its vocabulary."""
    if kind == "bytes":
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
        return 384
    if kind == "spiece":
        write_spiece(folder)
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))
        return int(pieces.get_piece_size()) + SENTINELS
    return write_json(folder)


def write_spiece(folder: Path, **options: Any) -> None:
    """Train a small ``spiece.model`` with T5's places of padding, end and unknown."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([TEXT, *TEXT.split()] * 3),
        model_prefix=str(folder / "spiece"),
        **(
            {
                "vocab_size": 120,
                "pad_id": 0,
                "eos_id": 1,
                "unk_id": 2,
                "bos_id": -1,
                "hard_vocab_limit": False,
                "minloglevel": 2,
            }
            | options
        ),
    )
    (folder / "spiece.vocab").unlink()


def write_json(folder: Path) -> int:
    """Write a ``tokenizer.json`` like that of T5, with words and letters as pieces."""
    letters = sorted(set(TEXT) - {" "})
    pieces = ["\u2581", *letters, *("\u2581" + word for word in sorted(set(TEXT.split())))]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary += [(piece, -1.0 - len(piece) ** -1) for piece in pieces]
    sentinels = [f"<extra_id_{number}>" for number in reversed(range(SENTINELS))]
    vocabulary += [(name, 0.0) for name in sentinels]
    made = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=2))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    made.decoder = decoders.Metaspace()
    made.add_special_tokens(["<pad>", "</s>", "<unk>", *sentinels])
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    # A file can ask for this; nothing may be cut for it.
    made.enable_truncation(max_length=8)
    made.enable_padding(length=12)
    made.save(str(folder / "tokenizer.json"))
    return len(vocabulary)
