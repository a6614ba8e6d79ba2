"""Several clients together get their answers faster than one after the other."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from common import MODEL, RUNS, median, shown, verdict

from tests.support.engines import RunningEngine, engine

TOKENS = 64
FIGURES = {4: 1.75, 8: 2.1}
TOPICS = ("whales", "clouds", "bread", "trains", "music", "winter", "bees", "glass")

# Ends of text are ruled out, so that all answers are of one length.
ENDLESS = {"logit_bias": {"0": -100, "2": -100}, "temperature": 0}


def run() -> bool:
    good = True
    with engine() as running, ThreadPoolExecutor(max(FIGURES)) as clients:
        for count, figure in FIGURES.items():
            ratios = []
            for number in range(RUNS):
                # Other texts in each run, so that none of them is there already.
                prompts = [f"{number}-{count}: tell me about {topic}." for topic in TOPICS[:count]]
                started = time.perf_counter()
                for prompt in prompts:
                    _ask(running, f"Alone {prompt}")
                alone = time.perf_counter() - started
                started = time.perf_counter()
                list(clients.map(lambda prompt: _ask(running, f"Beside {prompt}"), prompts))
                together = time.perf_counter() - started
                if number:
                    ratios.append(alone / together)
            print(f"  {count} clients: {shown(ratios, 'x')}")
            good &= verdict(f"{count} clients at once get", median(ratios), figure, "x", least=True)
    return good


def _ask(running: RunningEngine, prompt: str) -> None:
    answer = running.complete(model=MODEL, prompt=prompt, max_tokens=TOKENS, **ENDLESS).json()
    assert answer["usage"]["completion_tokens"] == TOKENS, answer
