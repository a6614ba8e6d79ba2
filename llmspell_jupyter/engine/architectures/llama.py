"""LLaMA and the models that are built like it."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "llama",
    gguf=("llama", "llama4", "deci", "arcee", "smollm3", "apertus", "maincoder", "seed_oss"),
    safetensors=("llama", "arcee", "smollm3", "apertus", "seed_oss"),
)
