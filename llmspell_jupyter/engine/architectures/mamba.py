"""Models with a state instead of attention, or beside it."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "mamba",
    gguf=("mamba", "mamba2", "jamba", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7", "lfm2", "lfm2moe"),
    safetensors=("mamba", "mamba2", "jamba", "bamba", "zamba2", "lfm2"),
)
