"""Command and Aya."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "cohere",
    gguf=("command-r", "cohere2"),
    safetensors=("cohere", "cohere2"),
)
