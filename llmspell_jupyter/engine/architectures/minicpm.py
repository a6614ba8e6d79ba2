"""MiniCPM."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "minicpm",
    gguf=("minicpm", "minicpm3"),
    safetensors=("minicpm3",),
)
