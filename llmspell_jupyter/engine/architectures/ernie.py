"""ERNIE 4.5."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "ernie",
    gguf=("ernie4_5", "ernie4_5-moe"),
    safetensors=("ernie4_5", "ernie4_5_moe"),
)
