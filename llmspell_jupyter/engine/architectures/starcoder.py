"""StarCoder 2; its forerunner is built like GPT-2."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "starcoder",
    gguf=("starcoder2",),
    safetensors=("starcoder2",),
)
