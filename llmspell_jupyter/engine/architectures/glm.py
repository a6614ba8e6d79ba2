"""GLM."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "glm",
    gguf=("chatglm", "glm4", "glm4moe", "glm-dsa"),
    safetensors=("glm", "glm4", "glm4_moe"),
)
