"""Writes tiny models with random weights as transformers saves them, each with a tokenizer.

The tokenizers are trained on a few lines, so that words and parts of words are tokens. From a
shell: ``python tiny_transformers.py KIND FOLDER``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

#: A chat template as short as they come.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)

_LINES = [
    "the sea is blue and deep, and waves have white tops",
    "a small boat goes out in the morning and comes home at night",
    "hello world, how are you today? we are well, thank you",
    "der Himmel über dem Meer ist blau; größer wird nichts",
    "user: what is 2+2? assistant: it is 4. system: be kind",
] * 4

_SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}

_Maker = Callable[[dict[str, Any]], tuple[tokenizers.Tokenizer, Any]]


def write_tiny(kind: str, folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """Write a model of some 100 KB; the same arguments give the same files.

    Args:
        kind: ``bert``, ``roberta``, ``llama``, ``gpt2`` or ``qwen2``.
        folder: Where to; it is made.
        seed: Of the weights.
        **config: Values of its ``config.json``.
    """
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(seed)
    tokenizer, model = _KINDS[kind](config)
    # The usual spread gives a model that always writes the same token.
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and "norm" not in name.lower():
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    if kind not in ("bert", "roberta"):
        said = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": TEMPLATE}
        (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


def _bert(config: dict[str, Any]) -> tuple[tokenizers.Tokenizer, Any]:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(_LINES, trainer)
    tokenizer.post_processor = _around(tokenizer, "[CLS]", "[SEP]")
    # As the file of all-MiniLM-L6-v2 asks for.
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    shape = _SHAPE | {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 64}
    return tokenizer, transformers.BertModel(transformers.BertConfig(**shape | config))


def _roberta(config: dict[str, Any]) -> tuple[tokenizers.Tokenizer, Any]:
    tokenizer = _byte_level(["<s>", "<pad>", "</s>", "<unk>"])
    tokenizer.post_processor = _around(tokenizer, "<s>", "</s>")
    ids = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "type_vocab_size": 1}
    shape = _SHAPE | {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 66}
    return tokenizer, transformers.RobertaModel(
        transformers.RobertaConfig(**shape | ids | config), add_pooling_layer=False
    )


def _llama(config: dict[str, Any]) -> tuple[tokenizers.Tokenizer, Any]:
    tokenizer = _metaspace(["<unk>", "<s>", "</s>"])
    ids = {"bos_token_id": 1, "eos_token_id": 2, "num_key_value_heads": 2}
    shape = _SHAPE | {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 256}
    made = transformers.LlamaConfig(**shape | ids | config)
    return tokenizer, transformers.LlamaForCausalLM(made)


def _gpt2(config: dict[str, Any]) -> tuple[tokenizers.Tokenizer, Any]:
    tokenizer = _byte_level(["<s>", "</s>"])
    shape = {"vocab_size": tokenizer.get_vocab_size(), "n_positions": 256, "n_embd": 32}
    shape |= {"n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 1}
    return tokenizer, transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape | config))


def _qwen2(config: dict[str, Any]) -> tuple[tokenizers.Tokenizer, Any]:
    tokenizer = _byte_level(["<s>", "</s>"])
    ids = {"bos_token_id": 0, "eos_token_id": 1, "num_key_value_heads": 2}
    shape = _SHAPE | {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 256}
    made = transformers.Qwen2Config(**shape | ids | {"tie_word_embeddings": True} | config)
    return tokenizer, transformers.Qwen2ForCausalLM(made)


_KINDS: dict[str, _Maker] = {
    "bert": _bert,
    "roberta": _roberta,
    "llama": _llama,
    "gpt2": _gpt2,
    "qwen2": _qwen2,
}


def _byte_level(special: list[str]) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_LINES, trainer)
    return tokenizer


def _metaspace(special: list[str]) -> tokenizers.Tokenizer:
    """As that of LLaMA 2: pieces with ``▁`` for a space, and tokens of bytes for the rest."""
    raw = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=[*special, *raw], show_progress=False
    )
    # Words alone, or a token would be a whole line.
    tokenizer.train_from_iterator([word for line in _LINES for word in line.split()], trainer)
    said = json.loads(tokenizer.to_str())
    said["added_tokens"] = [each for each in said["added_tokens"] if each["content"] in special]
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(said))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    begin = special[1]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", special_tokens=[(begin, tokenizer.token_to_id(begin))]
    )
    return tokenizer


def _around(tokenizer: tokenizers.Tokenizer, first: str, last: str) -> Any:
    ids = [(name, tokenizer.token_to_id(name)) for name in (first, last)]
    return processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=ids)


def main() -> None:
    """Write a model as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=sorted(_KINDS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_tiny(given.kind, given.folder, seed=given.seed)


if __name__ == "__main__":
    main()
