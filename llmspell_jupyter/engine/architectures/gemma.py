"""Gemma."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "gemma",
    gguf=("gemma", "gemma2", "gemma3", "gemma3n", "gemma4"),
    safetensors=("gemma", "gemma2", "gemma3_text", "recurrent_gemma"),
)
