"""Reading ``config.json`` so that nothing of it can name code.

Libraries take far more from this file than the shape of a model: classes to import, repositories
to fetch kernels from. What may stand in it is therefore listed here, by what it is: numbers may
have any plain name, because no number names code; texts and tables only those below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llmspell_jupyter.errors import UnsafeFormat
from llmspell_jupyter.models.members import read_json
from llmspell_jupyter.models.problems import bad_file, unsafe

# Texts, each one word: an activation, a number format, the kind of a layer.
_WORDS = frozenset(
    {
        *("activation", "activation_function", "attention_type", "classifier_activation"),
        *("classifier_pooling", "conv_act", "dense_act_fn", "directionality", "dtype"),
        *("feed_forward_proj", "ffn_act_fn", "hidden_act"),
        *("hidden_activation", "hidden_function", "mamba_hidden_act", "mlp_hidden_act"),
        *(
            "model_type",
            "norm_rel_ebd",
            "normalization_function",
            "pooler_act",
            "pooler_hidden_act",
            "pooler_type",
        ),
        *("position_embedding_type", "problem_type", "scoring_func", "summary_activation"),
        *("summary_type", "time_step_init_scheme", "tokenizer_class", "topk_method", "torch_dtype"),
    }
)

# Lists of such texts, nested for GPT-Neo.
_WORD_LISTS = frozenset(
    {
        *("architectures", "attention_layers", "attention_types", "block_types", "layer_types"),
        *("layers_block_type", "mlp_layer_types", "pos_att_type"),
    }
)

# Tables of numbers and such texts, nested at most once for each kind of layer.
_TABLES = frozenset({"rope_parameters", "rope_scaling"})

# Configurations inside the configuration, under the same rules.
_PARTS = frozenset({"audio_config", "decoder", "encoder", "text_config", "vision_config"})

# Notes of whoever saved the model, and settings of other programs. They are not handed on.
_NOTES = frozenset(
    {
        *("_attn_implementation_autoset", "_commit_hash", "_name_or_path", "_num_labels"),
        *("adapters", "bos_token", "cache_implementation", "eos_token", "finetuning_task"),
        *("id2label", "label2id", "language", "license", "model_name", "name_or_path"),
        *("pad_token", "prefix", "sentence_transformers", "task_specific_params", "task_type"),
        *("transformers.js_config", "transformers_version", "unk_token", "unsloth_version"),
    }
)

# These make a library import, fetch or run something.
_CODE = re.compile(
    r"auto_map|trust_remote_code|code_revision|custom_.*|.*_implementation.*|use_kernels"
    r"|kernel_config|quantization_config|__.*"
)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}")
# No slash, colon or at-sign: it names no file and no repository.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+| -]{0,99}")

_MOST_KEYS = 2_000
_DEEPEST = 8

_REMOVE = "If the model works without it, remove that line; otherwise take another model."


def read_config(folder: Path) -> Mapping[str, Any]:
    """The cleaned ``config.json`` of a model folder; ``tokenizer_config.json`` is checked, too.

    Returns:
        Its values with ``model_type``, read-only; what cannot shape a model is left out.

    Raises:
        BadModelFile: It is missing or damaged.
        UnsafeFormat: Something in it could make a library run code.
    """
    config = read_json(folder, "config.json")
    if config is None:
        raise bad_file(folder, "it holds no config.json")
    path = folder / "config.json"
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not _WORD.fullmatch(model_type):
        raise bad_file(path, "it does not say what the model is (model_type)")
    for name in ("tokenizer_config.json", "generation_config.json"):
        _check_names(folder / name, read_json(folder, name) or {})
    return MappingProxyType(clean(path, config))


def clean(path: Path, config: Mapping[str, Any], *, depth: int = 0) -> dict[str, Any]:
    """What of a configuration a library may be handed.

    Args:
        path: The file, for errors.
        config: Its values.
        depth: How many configurations are around this one.

    Raises:
        BadModelFile: It is nested too deep or has too many keys.
        UnsafeFormat: A key could make a library run code, or is a text or table that is not
            known to be harmless.
    """
    if len(config) > _MOST_KEYS or depth > _DEEPEST:
        raise bad_file(path, "it has too many keys or parts")
    _check_names(path, config)
    kept = {}
    for key, value in config.items():
        # Nothing in an empty text or table, nor in a private number, can be wanted.
        private = key.startswith("_") and _is_numbers(value)
        if private or key in _NOTES or _CODE.fullmatch(key) or value in ("", {}):
            continue
        if key in _PARTS and isinstance(value, dict):
            kept[key] = clean(path, value, depth=depth + 1)
        elif _is_harmless(key, value):
            kept[key] = value
        else:
            raise _refused(path, key)
    return kept


def _check_names(path: Path, table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if value and _CODE.fullmatch(key) and key not in _NOTES:
            raise _refused(path, key)


def _is_harmless(key: str, value: Any) -> bool:
    if not _NAME.fullmatch(key):
        return False
    if key in _WORDS and isinstance(value, str):
        return bool(_WORD.fullmatch(value))
    if key in _WORD_LISTS:
        return _is_words(value)
    if key in _TABLES and isinstance(value, dict):
        return _is_table(value)
    return _is_numbers(value)


def _is_numbers(value: Any, *, depth: int = 0) -> bool:
    """Whether a value is a number, a truth value, nothing, or lists of such."""
    if isinstance(value, list):
        return depth < _DEEPEST and all(_is_numbers(item, depth=depth + 1) for item in value)
    return value is None or isinstance(value, bool | int | float)


def _is_words(value: Any, *, depth: int = 0) -> bool:
    """The same, or one-word texts."""
    if isinstance(value, list):
        return depth < _DEEPEST and all(_is_words(item, depth=depth + 1) for item in value)
    return _is_numbers(value) or (isinstance(value, str) and bool(_WORD.fullmatch(value)))


def _is_table(value: Mapping[str, Any], *, depth: int = 0) -> bool:
    return depth < 2 and all(
        _NAME.fullmatch(key)
        and (_is_table(item, depth=depth + 1) if isinstance(item, dict) else _is_words(item))
        for key, item in value.items()
    )


def _refused(path: Path, key: str) -> UnsafeFormat:
    shown = repr(key if len(key) <= 80 else key[:77] + "...")
    error = unsafe(
        path, f"its key {shown} could make a library run code that came with the model", _REMOVE
    )
    error.data["key"] = key[:80]
    return error
