"""What of a ``config.json`` may reach a library (threat M6)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmspell_jupyter.engine import architectures
from llmspell_jupyter.errors import BadModelFile, UnsafeFormat
from llmspell_jupyter.models import config_json
from tests.support.clock import at_once

CONFIG = Path("config.json")


def put(folder: Path, name: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    folder.joinpath(name).write_text(text)


def read(folder: Path, **config: Any) -> dict[str, Any]:
    put(folder, "config.json", {"model_type": "t5"} | config)
    return dict(config_json.read_config(folder))


KEPT: dict[str, Any] = {
    "architectures": ["T5ForConditionalGeneration"],
    "torch_dtype": "bfloat16",
    "feed_forward_proj": "gated-gelu",
    "hidden_act": "gelu_new",
    "layer_norm_epsilon": 1e-6,
    "a_number_of_a_new_family": 3,
    "eos_token_id": [1, 2],
    "tie_word_embeddings": False,
    "sliding_window": None,
    "attention_types": [[["global", "local"], 12]],
    "layer_types": ["sliding_attention", "full_attention"],
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
    "rope_parameters": {
        "full_attention": {"rope_type": "yarn", "factor": 2.0},
        "sliding_attention": {"rope_type": "default"},
    },
    "pos_att_type": "p2c|c2p",
    "text_config": {"model_type": "gemma3_text", "hidden_size": 8},
}

DROPPED: dict[str, Any] = {
    "_name_or_path": "/home/somebody/x",
    "transformers_version": "4.8.2",
    "task_specific_params": {"translation": {"prefix": "translate: "}},
    "id2label": {"0": "LABEL_0"},
    "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}},
    "_attn_implementation_autoset": True,
    "_sliding_window_pattern": 6,
    "pruned_heads": {},
    "auto_map": None,
    "trust_remote_code": False,
}


def test_what_shapes_a_model_is_kept_and_the_rest_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, **KEPT, **DROPPED) == KEPT | {"model_type": "t5"}


UNSAFE: dict[str, Any] = {
    "auto_map": {"AutoModel": "modeling.Evil"},
    "trust_remote_code": True,
    "code_revision": "main",
    "_attn_implementation": "owner/kernel",
    "_attn_implementation_internal": "owner/kernel",
    "attn_implementation": "owner/kernel:Evil.run",
    "experts_implementation": "owner/kernel",
    "use_kernels": True,
    "kernel_config": {"a": "b"},
    "quantization_config": {"quant_method": "gptq"},
    "custom_pipelines": {"a": {"impl": "evil.Pipeline"}},
    "custom_generate": "owner/repo",
    "custom_key": 1,
    "__class__": "os",
    "_private": "text",
    "new_text": "a word",
    "new_table": {"a": 1},
    "new_list": ["a word"],
    "hidden_act": "owner/kernel",
    "torch_dtype": "os:system",
    "architectures": ["../evil"],
    "tokenizer_class": "evil.py/Tokenizer",
    "layer_types": [["a", {"b": "c"}]],
    "rope_scaling": {"rope_type": "owner/kernel"},
    "rope_parameters": {"a": {"b": {"c": {"d": 1}}}},
    "rope-theta": 1,
    "text_config": {"auto_map": {"AutoConfig": "evil.Config"}},
    "vision_config": {"text_config": {"_attn_implementation_internal": "owner/kernel"}},
    "decoder": {"new_text": "a word"},
    "deep": json.loads("[" * 60 + '"x"' + "]" * 60),
}


@pytest.mark.parametrize("key", UNSAFE)
def test_what_could_name_code_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(UnsafeFormat) as caught:
        read(tmp_path, **{key: UNSAFE[key]})
    assert caught.value.data["key"] in f"{key} {UNSAFE[key]}"
    assert repr(caught.value.data["key"]) in caught.value.message
    assert caught.value.data["path"] == str(tmp_path / "config.json")
    assert "remove that line" in caught.value.hint


@pytest.mark.parametrize("name", ["tokenizer_config.json", "generation_config.json"])
def test_files_beside_it_are_looked_at_too(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, {"tokenizer_class": "T5Tokenizer", "chat_template": "{{ x }}"})
    assert read(tmp_path)["model_type"] == "t5"
    for key in ("auto_map", "custom_generate", "trust_remote_code"):
        put(tmp_path, name, {key: {"AutoTokenizer": ["evil.Tokenizer", None]}})
        with pytest.raises(UnsafeFormat, match=key):
            read(tmp_path)
    put(tmp_path, name, "[")
    with pytest.raises(BadModelFile, match="not sound JSON"):
        read(tmp_path)


BAD = {
    "no file": (None, "holds no config.json"),
    "no JSON": ("{", "not sound JSON"),
    "a list": ("[]", "holds no table"),
    "no type": ("{}", "does not say what the model is"),
    "a number for a type": ('{"model_type": 5}', "does not say what the model is"),
    "a path for a type": ('{"model_type": "../evil"}', "does not say what the model is"),
    "a key twice": ('{"model_type": "t5", "model_type": "bert"}', "'model_type' stands twice"),
    "deep": ('{"a":' * 50_000, "nested too deep"),
    "long": (" " * (1024 * 1024 + 1), "longer than 1,048,576 bytes"),
    "many keys": (
        json.dumps({f"k{n}": n for n in range(3_000)} | {"model_type": "t5"}),
        "too many",
    ),
    "not UTF-8": (b'{"model_type": "\xff"}', "not sound JSON"),
    "parts in parts": ('{"model_type": "t5"' + ', "decoder": {"a": 1' * 20 + "}" * 21, "too many"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_at_once(tmp_path: Path, kind: str) -> None:
    content, says = BAD[kind]
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        tmp_path.joinpath("config.json").write_bytes(data)
    with at_once(), pytest.raises(BadModelFile) as caught:
        config_json.read_config(tmp_path)
    assert says in caught.value.data["cause"] and not isinstance(caught.value, UnsafeFormat)


WORD = st.text("ab_./:@-", max_size=6)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD, inner, max_size=3),
    max_leaves=10,
)
KEY = WORD | st.sampled_from([*KEPT, *DROPPED, *UNSAFE])


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in texts(each)] + list(value)
    if isinstance(value, list):
        return [text for each in value for text in texts(each)]
    return [value] if isinstance(value, str) else []


@given(st.dictionaries(KEY, VALUE, max_size=6))
def test_whatever_it_says_nothing_that_is_kept_names_a_file(config: dict[str, Any]) -> None:
    try:
        kept = config_json.clean(CONFIG, config)
    except (UnsafeFormat, BadModelFile):
        return
    assert not [text for text in texts(kept) if set(text) & set("/:@\\")]
    assert not [key for key in kept if key.startswith("_") or "." in key]


def test_configurations_of_every_family_pass() -> None:
    """What transformers itself writes for each type that a backend here takes."""
    import transformers

    types = {
        each
        for architecture in architectures.all_architectures()
        for each in architecture.types.get("safetensors", ())
    }
    assert len(types) > 70
    for each in sorted(types & set(transformers.CONFIG_MAPPING)):
        made = transformers.CONFIG_MAPPING[each]().to_dict()
        config = json.loads(json.dumps(made, default=str))
        kept = config_json.clean(CONFIG, config)
        lost = {
            key
            for key, value in config.items()
            if key not in kept and value not in (None, {}, "") and not key.startswith("_")
        }
        assert lost <= {"id2label", "label2id", "transformers_version", "pad_token"}, (each, lost)
