"""BERT and other encoders, which make vectors of texts."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures import ModelArchitecture

ARCHITECTURE = ModelArchitecture(
    name="bert",
    types={
        "GGUF": frozenset(
            {
                *("bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2"),
                *("jina-bert-v3", "modern-bert", "eurobert", "gemma-embedding", "llama-embed"),
            }
        ),
        "safetensors": frozenset(
            {
                *("bert", "roberta", "xlm-roberta", "distilbert", "mpnet", "modernbert"),
                *("nomic_bert", "albert", "camembert", "electra", "deberta", "deberta-v2"),
            }
        ),
    },
    backends={"GGUF": ("llama_cpp",), "safetensors": ("torch_bert",)},
    tasks=frozenset({"embed"}),
    supports_metal=True,
    supports_cuda=True,
)
