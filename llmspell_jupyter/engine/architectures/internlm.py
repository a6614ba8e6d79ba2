"""InternLM."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "internlm",
    gguf=("internlm2",),
    safetensors=("internlm3",),
)
