"""Decoder-only models of smaller families."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures._decoder import decoder

ARCHITECTURE = decoder(
    "other",
    gguf=(
        "grok",
        "baichuan",
        "plamo",
        "plamo2",
        "plamo3",
        "orion",
        "xverse",
        "dbrx",
        "openelm",
        "arctic",
        "bitnet",
        "jais2",
        "chameleon",
        "plm",
        "bailingmoe",
        "bailingmoe2",
        "dots1",
        "afmoe",
        "smallthinker",
        "grovemoe",
        "pangu-embedded",
        "mimo2",
        "step35",
    ),
    safetensors=("afmoe", "bitnet", "dots1", "helium", "persimmon"),
)
