"""Nemotron."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "nemotron",
    gguf=("nemotron", "nemotron_h", "nemotron_h_moe"),
    safetensors=("nemotron",),
)
