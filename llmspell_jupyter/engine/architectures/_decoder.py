"""What all families of decoder-only language models have in common."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures import ModelArchitecture


def decoder(
    name: str, *, gguf: tuple[str, ...] = (), safetensors: tuple[str, ...] = ()
) -> ModelArchitecture:
    """A family that llama.cpp runs from GGUF, and transformers' causal models from safetensors.

    Args:
        name: Its name.
        gguf: What GGUF files call it.
        safetensors: What ``config.json`` files call it.
    """
    types = {"GGUF": frozenset(gguf), "safetensors": frozenset(safetensors)}
    backends = {"GGUF": ("llama_cpp",), "safetensors": ("torch_causal",)}
    return ModelArchitecture(
        name=name,
        types={form: names for form, names in types.items() if names},
        backends={form: modules for form, modules in backends.items() if types[form]},
        tasks=frozenset({"generate", "embed"}),
        supports_metal=True,
        supports_cuda=True,
    )
