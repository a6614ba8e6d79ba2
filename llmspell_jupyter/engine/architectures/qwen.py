"""Qwen."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "qwen",
    gguf=(
        "qwen",
        "qwen2",
        "qwen2moe",
        "qwen2vl",
        "qwen3",
        "qwen3moe",
        "qwen3next",
        "qwen3vl",
        "qwen3vlmoe",
        "qwen35",
        "qwen35moe",
    ),
    safetensors=("qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "qwen3_next"),
)
