"""Granite."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "granite",
    gguf=("granite", "granitemoe", "granitehybrid"),
    safetensors=("granite", "granitemoe", "granitemoeshared", "granitemoehybrid"),
)
