"""GPT-OSS."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "gpt_oss",
    gguf=("gpt-oss",),
    safetensors=("gpt_oss",),
)
