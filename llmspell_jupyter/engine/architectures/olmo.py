"""OLMo."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "olmo",
    gguf=("olmo", "olmo2", "olmoe"),
    safetensors=("olmo", "olmo2", "olmo3", "olmoe"),
)
