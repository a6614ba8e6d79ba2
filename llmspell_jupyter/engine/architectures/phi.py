"""Phi."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "phi",
    gguf=("phi2", "phi3", "phimoe"),
    safetensors=("phi", "phi3", "phimoe"),
)
