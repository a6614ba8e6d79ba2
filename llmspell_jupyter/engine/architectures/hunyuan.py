"""Hunyuan."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "hunyuan",
    gguf=("hunyuan-moe", "hunyuan-dense", "hunyuan_vl"),
    safetensors=("hunyuan_v1_dense", "hunyuan_v1_moe"),
)
