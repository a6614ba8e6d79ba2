"""Falcon."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "falcon",
    gguf=("falcon", "falcon-h1"),
    safetensors=("falcon", "falcon_h1", "falcon_mamba"),
)
