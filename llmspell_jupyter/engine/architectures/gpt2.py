"""GPT-2 and the models of its time."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "gpt2",
    gguf=("gpt2", "gptneox", "starcoder", "bloom", "mpt", "refact", "codeshell", "jais"),
    safetensors=(
        "gpt2",
        "gpt_neo",
        "gpt_neox",
        "gpt_bigcode",
        "gptj",
        "codegen",
        "opt",
        "bloom",
        "xglm",
        "biogpt",
    ),
)
