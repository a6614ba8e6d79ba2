"""Contexts of llama.cpp: what a model remembers while it works."""

from __future__ import annotations

from typing import Any

from llmspell_jupyter.engine.backends._llama.model import LoadedModel, metadata
from llmspell_jupyter.errors import EngineError, RequestError
from llmspell_jupyter.models import gguf_need
from llmspell_jupyter.types import CacheType, LoadOptions

# As llama_cpp names them.
_TYPES: dict[CacheType, str] = {
    "f32": "GGML_TYPE_F32",
    "f16": "GGML_TYPE_F16",
    "q8_0": "GGML_TYPE_Q8_0",
    "q5_1": "GGML_TYPE_Q5_1",
    "q5_0": "GGML_TYPE_Q5_0",
    "q4_1": "GGML_TYPE_Q4_1",
    "q4_0": "GGML_TYPE_Q4_0",
}

# It has no name there.
_BF16 = 30

_FLASH_ATTENTION_AUTO, FLASH_ATTENTION_OFF = -1, 0


def check_memory(options: LoadOptions) -> None:
    """Check what the memory of a text is to be held in.

    Raises:
        RequestError: Such a memory needs flash attention, which is switched off.
    """
    if options.cache_type.startswith("q") and not options.flash_attention:
        raise RequestError(
            f"cache_type {options.cache_type} needs flash attention, which is switched off.",
            hint='Write cache_type = "f16", or use_flash_attention = true.',
            data={"field": "cache_type", "value": options.cache_type},
        )


def shared_size(model: LoadedModel) -> int:
    """Tokens of the context that all answers share."""
    architecture = metadata(model.lib, model.handle, "general.architecture")
    original = metadata(model.lib, model.handle, f"{architecture}.{gguf_need.ORIGINAL}")
    return gguf_need.shared_tokens(
        model.context_size, model.options.max_concurrent, int(original or 0)
    )


def new_context(model: LoadedModel, **sizes: Any) -> Any:
    """A context, to be given back with ``llama_free``.

    Args:
        model: The loaded model.
        sizes: Fields of ``llama_context_params`` that are not taken from its load options.

    Raises:
        EngineError: llama.cpp could not make it, most often for want of memory.
    """
    lib, options = model.lib, model.options
    params = lib.llama_context_default_params()
    kind = _TYPES.get(options.cache_type)
    params.type_k = params.type_v = getattr(lib, kind) if kind else _BF16
    params.flash_attn_type = (
        _FLASH_ATTENTION_AUTO if options.flash_attention else FLASH_ATTENTION_OFF
    )
    params.kv_unified = True
    # A library that was built for a GPU would otherwise use it for parts of the work.
    params.offload_kqv = params.op_offload = model.device.name != "cpu"
    for name, value in sizes.items():
        setattr(params, name, value)
    model.log.forget()
    context = lib.llama_init_from_model(model.handle, params)
    if context is None:
        raise EngineError(
            f"llama.cpp could not set up {params.n_ctx} tokens of context for {model.info.id}: "
            f"{model.log.take_errors() or 'it does not say why'}",
            hint=_way_out(options),
        )
    return context


def _way_out(options: LoadOptions) -> str:
    smaller = "Try a smaller context_size, or close other programs to free memory."
    if options.cache_type == "f16":
        return smaller
    return f'Not every model takes cache_type {options.cache_type}; try "f16". Else: {smaller}'
