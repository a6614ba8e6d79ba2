"""``%load_ext llmspell_jupyter`` costs at most 0.3 s over a bare kernel."""

from __future__ import annotations

import time

from common import RUNS, median, shown, verdict
from jupyter_client.manager import start_new_kernel


def run() -> bool:
    cells = {"bare": "pass", "with the extension": "%load_ext llmspell_jupyter"}
    seconds: dict[str, list[float]] = {name: [] for name in cells}
    totals: dict[str, list[float]] = {name: [] for name in cells}
    for number in range(RUNS + 1):
        for name, cell in cells.items():
            began = time.perf_counter()
            manager, client = start_new_kernel(kernel_name="python3")
            try:
                started = time.perf_counter()
                reply = client.execute_interactive(cell, timeout=60)
                ended = time.perf_counter()
                assert reply["content"]["status"] == "ok", reply
            finally:
                client.stop_channels()
                manager.shutdown_kernel(now=True)
            if number:
                seconds[name].append(ended - started)
                totals[name].append(ended - began)
    for name in cells:
        print(
            f"  {name}: cell {shown(seconds[name], 's')}; start to end {shown(totals[name], 's')}"
        )
    added = median(seconds["with the extension"]) - median(seconds["bare"])
    return verdict("%load_ext adds", added, 0.3, "s")
