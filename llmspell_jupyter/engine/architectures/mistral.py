"""Mistral; most of its GGUF files call themselves llama."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "mistral",
    gguf=("mistral3", "mistral4"),
    safetensors=("mistral", "ministral", "mixtral"),
)
