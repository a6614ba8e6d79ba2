"""DeepSeek and Kimi."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "deepseek",
    gguf=("deepseek", "deepseek2", "deepseek32", "kimi-linear"),
    safetensors=("deepseek_v2", "deepseek_v3"),
)
