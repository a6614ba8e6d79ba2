"""A text of 2,000 tokens that was read before is not read again, nor after a kernel restart."""

from __future__ import annotations

import time

from common import MODEL, RUNS, median, shown, verdict

from tests.support.engines import RunningEngine, attach, engine

LIMIT = 0.15
WORDS = 1950


def run() -> bool:
    ratios: dict[str, list[float]] = {"warm": [], "after a restart": []}
    with engine() as running:
        for number in range(RUNS):
            text = f"{number}: " + "the sea is deep and blue " * (WORDS // 6)
            cold, cached = _first_word(running, text + "One?")
            assert cached < 100, cached
            # What a kernel that has restarted does: it finds the engine and connects anew.
            restarted = attach(running.environment)
            assert restarted is not None
            for name, client in (("warm", running), ("after a restart", restarted)):
                warm, cached = _first_word(client, f"{text}Two, {name}?")
                assert cached >= WORDS, cached
                if number:
                    ratios[name].append(warm / cold)
            restarted.http.close()
    good = True
    for name, values in ratios.items():
        print(f"  {name}: {shown(values, 'of a cold first token')}")
        good &= verdict(f"{name}, the first token takes", median(values), LIMIT, "x cold")
    return good


def _first_word(running: RunningEngine, prompt: str) -> tuple[float, int]:
    """Seconds until an answer of one token, and tokens of the prompt that were there."""
    started = time.perf_counter()
    answer = running.complete(model=MODEL, prompt=prompt, max_tokens=1, temperature=0).json()
    return time.perf_counter() - started, answer["llmspell"]["metadata"]["cached_tokens"]
