"""A kernel grows by less than 80 MB over an answer: no model and no library is loaded into it."""

from __future__ import annotations

import threading

import psutil
from common import QUESTION, RUNS, agent, median, private_notebook, shown, verdict


def run() -> bool:
    grown, kept = [], []
    for number in range(RUNS):
        with private_notebook() as book:
            kernel = psutil.Process(eval(book.value("__import__('os').getpid()")))
            before = kernel.memory_info().rss
            highest = before
            done = threading.Event()

            def watch(kernel: psutil.Process = kernel, done: threading.Event = done) -> None:
                nonlocal highest
                while not done.wait(0.01):
                    highest = max(highest, kernel.memory_info().rss)

            watcher = threading.Thread(target=watch)
            watcher.start()
            book.good(
                agent(f"memory{number}", max_tokens=32) + f'agent:execute({{text = "{QUESTION}"}})'
            )
            done.set()
            watcher.join()
            kept.append((kernel.memory_info().rss - before) / 1e6)
            grown.append((highest - before) / 1e6)
    print(f"  while it answers: {shown(grown, 'MB')}; afterwards: {shown(kept, 'MB')}")
    return verdict("the kernel grows by", median(grown), 80, "MB")
