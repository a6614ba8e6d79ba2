"""Loading a profile takes less than 10 ms, with every layer speaking."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from common import median, verdict

from llmspell_jupyter.config import files, loading, profiles
from llmspell_jupyter.config.policy import Policy

ROUNDS = 200


def _times(name: str, folder: Path, *, cached: bool) -> list[float]:
    """Milliseconds of each load."""
    environ = {
        "HOME": str(folder),
        "LLMSPELL_RAG_EMBEDDING_CACHE_SIZE": "7",
        "LLMSPELL_RAG_ENABELD": "true",
        "OPENAI_API_KEY": "x",
    } | {f"OTHER_{number}": "x" for number in range(100)}
    policy = Policy(fixed={"engines.lua.max_memory_bytes": 8_000_000}, providers=["candle"])
    took = []
    for _ in range(ROUNDS):
        if not cached:
            files.forget()
        begun = time.perf_counter()
        loading.load(name, environ=environ, cwd=folder, admin=policy)
        took.append(1000 * (time.perf_counter() - begun))
    return took


def run() -> bool:
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.joinpath("llmspell.toml").write_text(
            "[rag.embedding]\nbatch_size = 14\n[engine]\nqueue_limit = 3\n"
        )
        for profile in profiles.names():
            kept, anew = (median(_times(profile, folder, cached=each)) for each in (True, False))
            worst = max(worst, kept, anew)
            print(f"  {profile:16} {kept:6.2f} ms, with every file read anew {anew:6.2f} ms")
    return verdict("the slowest median is", worst, 10, "ms")
