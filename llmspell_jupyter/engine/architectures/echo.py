"""The model without weights that repeats what it is told."""

from __future__ import annotations

from llmspell_jupyter.engine.architectures import ModelArchitecture

ARCHITECTURE = ModelArchitecture(
    name="echo",
    types={"echo": frozenset({"echo"})},
    backends={"echo": ("echo",)},
    tasks=frozenset({"generate", "embed"}),
    supports_metal=False,
    supports_cuda=False,
)
