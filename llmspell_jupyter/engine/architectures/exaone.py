"""EXAONE."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "exaone",
    gguf=("exaone", "exaone4", "exaone-moe"),
    safetensors=("exaone4",),
)
