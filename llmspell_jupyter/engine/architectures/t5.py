"""T5, which reads with an encoder and writes with a decoder."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures import ModelArchitecture

ARCHITECTURE = ModelArchitecture(
    name="t5",
    types={
        "safetensors": frozenset({"t5", "mt5", "umt5"}),
        "GGUF": frozenset({"t5", "t5encoder"}),
    },
    backends={"safetensors": ("ctranslate2_t5", "torch_t5")},
    tasks=frozenset({"generate"}),
    supports_metal=True,
    supports_cuda=True,
)
