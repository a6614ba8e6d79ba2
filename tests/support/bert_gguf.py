"""Writes a BERT model of transformers as a GGUF file that llama.cpp reads."""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING

import gguf

if TYPE_CHECKING:
    from transformers import BertModel

#: Word pieces: what a word begins with, and what it goes on with.
TOKENS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *(f"\u2581{letter}" for letter in string.ascii_lowercase + string.digits + ".,"),
    *string.ascii_lowercase,
    *("\u2581the", "\u2581sea", "\u2581is", "\u2581blue"),
]

_BLOCK = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def tiny_bert(*, context: int = 64) -> BertModel:
    """A model with random weights, the same each time."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(TOKENS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=context,
        initializer_range=0.3,
    )
    return BertModel(config, add_pooling_layer=False).eval()


def write_bert_gguf(
    path: Path, model: BertModel, *, pooling: gguf.PoolingType = gguf.PoolingType.MEAN
) -> Path:
    """Write a model, its vocabulary being ``TOKENS``."""
    config = model.config
    writer = gguf.GGUFWriter(str(path), "bert")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_pooling_type(pooling)
    writer.add_token_type_count(config.type_vocab_size)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(TOKENS)
    kinds = [gguf.TokenType.CONTROL] * 5 + [gguf.TokenType.NORMAL] * (len(TOKENS) - 5)
    writer.add_token_types(kinds)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_sep_token_id(3)
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(3)
    weights = {name: each.detach().numpy() for name, each in model.state_dict().items()}
    for name, each in weights.items():
        if new := _name(name):
            writer.add_tensor(new, each)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _name(name: str) -> str | None:
    part, _, kind = name.rpartition(".")
    embeddings = {
        "embeddings.word_embeddings": "token_embd",
        "embeddings.position_embeddings": "position_embd",
        "embeddings.token_type_embeddings": "token_types",
        "embeddings.LayerNorm": "token_embd_norm",
    }
    if part in embeddings:
        return f"{embeddings[part]}.{kind}"
    if not part.startswith("encoder.layer."):
        return None
    number, _, rest = part.removeprefix("encoder.layer.").partition(".")
    return f"blk.{number}.{_BLOCK[rest]}.{kind}"
