"""MiniMax."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "minimax",
    gguf=("minimax-m2",),
    safetensors=("minimax", "minimax_m2"),
)
