"""How long loading a profile takes, with every layer speaking: ``python tests/benchmarks/profiles.py``.

Prints the median of each profile in milliseconds; exit status 1 when one takes 10 ms or more.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from llmspell_jupyter.config import files, loading, profiles
from llmspell_jupyter.config.policy import Policy

LIMIT_MS = 10.0
ROUNDS = 200


def main() -> int:
    """Measure all profiles; the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "llmspell.toml").write_text(
            "[rag.embedding]\nbatch_size = 14\n[engine]\nqueue_limit = 3\n"
        )
        environ = {
            "HOME": folder,
            "LLMSPELL_RAG_EMBEDDING_CACHE_SIZE": "7",
            "LLMSPELL_RAG_ENABELD": "true",
            "OPENAI_API_KEY": "x",
        } | {f"OTHER_{number}": "x" for number in range(100)}
        policy = Policy(fixed={"engines.lua.max_memory_bytes": 8_000_000}, providers=["candle"])
        slow = False
        for name in profiles.names():
            medians = []
            for cached in (True, False):
                took = []
                for _ in range(ROUNDS):
                    if not cached:
                        files.forget()
                    begun = time.perf_counter()
                    loading.load(name, environ=environ, cwd=Path(folder), admin=policy)
                    took.append(1000 * (time.perf_counter() - begun))
                medians.append(statistics.median(took))
            slow = slow or max(medians) >= LIMIT_MS
            print(
                f"{name:16} {medians[0]:6.2f} ms   with every file read anew {medians[1]:6.2f} ms"
            )
    print(f"limit {LIMIT_MS:.0f} ms: {'missed' if slow else 'held'}")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
