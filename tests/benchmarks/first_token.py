"""After a kernel restart the same model's first word comes within 0.5 s of the cell's start."""

from __future__ import annotations

import time

from common import RUNS, agent, median, private_notebook, shown, verdict

QUESTION = "Why is the sea blue?"


def run() -> bool:
    with private_notebook() as book:
        cell = agent("first", max_tokens=16) + (
            f'agent:invokeStream({{text = "{QUESTION}"}}, function(c) print("word") end)'
        )
        book.good(cell)
        seconds = []
        for _ in range(RUNS):
            book.restart()
            book.good("%load_ext llmspell_jupyter")
            times: list[float] = []
            started = time.perf_counter()
            output = book.run(
                cell,
                until=lambda so_far: "word" in so_far.stdout,
                then=lambda times=times: times.append(time.perf_counter()),
            )
            assert output.error is None, output.traceback
            seconds.append(times[0] - started)
    print(f"  cell sent to first word received: {shown(seconds, 's')}")
    return verdict("the first word takes", median(seconds), 0.5, "s")
