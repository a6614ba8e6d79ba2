"""StableLM."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "stablelm",
    gguf=("stablelm",),
    safetensors=("stablelm",),
)
