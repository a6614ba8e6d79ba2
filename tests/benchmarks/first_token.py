"""After a kernel restart the same model's first word comes within 0.5 s of the cell's start."""

from __future__ import annotations

import contextlib
import time
from queue import Empty

from common import RUNS, Notebook, agent, median, private_notebook, shown, verdict

QUESTION = "Why is the sea blue?"


def _restart(book: Notebook) -> None:
    book.restart()
    # The channel of outputs comes back by itself some time after the others, and what was sent
    # before is lost.
    while True:
        book.client.kernel_info()
        with contextlib.suppress(Empty):
            book.client.get_iopub_msg(timeout=0.5)
            return


def run() -> bool:
    with private_notebook() as book:
        cell = agent("first", max_tokens=16) + (
            f'agent:invokeStream({{text = "{QUESTION}"}}, function(c) print("word") end)'
        )
        book.good(cell)
        seconds = []
        for _ in range(RUNS):
            _restart(book)
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
