"""The bar of a pull in JupyterLab: it moves, it can be cancelled, and it leaves one line."""

from __future__ import annotations

from tests.support.browser import Lab

# Synchronous, as a magic is: the main thread of the kernel is busy until the bar is cancelled.
WORK = """
import threading, time
from llmspell_jupyter.types import PullPhase, PullProgress
from llmspell_jupyter.widgets.pull_bar import PullBar
stops = [threading.Event() for _ in range(2)]
bars = [PullBar(stop.set) for stop in stops]
began = time.monotonic()
for step in range(100_000):
    if all(stop.is_set() for stop in stops) or time.monotonic() - began > 60:
        break
    for number, bar in enumerate(bars):
        if stops[number].is_set():
            bar.end(f"model-{number} · stopped")
        else:
            progress = PullProgress(
                f"model-{number}", PullPhase.DOWNLOADING, step * 1000, 100_000_000, 2e6, 40.0
            )
            bar.update(progress)
    time.sleep(0.01)
for number, bar in enumerate(bars):
    bar.end(f"model-{number} · stopped")
print(time.monotonic() - began < 60)
"""


def test_cancel_is_heard_while_the_cell_runs(opened: Lab) -> None:
    """The main thread never rests, so the press can only be handled beside it."""
    with opened.notebook("bar", WORK) as book:
        book.run(0)
        buttons = book.page.get_by_role("button", name="Cancel")
        buttons.nth(1).wait_for()
        book.page.get_by_text("downloading ·").first.wait_for()
        book.picture("bar")
        twins = [each["data"]["text/plain"] for each in book.outputs(0) if "data" in each]
        assert len(twins) == 2 and all("started" in each for each in twins)
        assert book.running(0)
        buttons.nth(0).click()
        book.page.get_by_text("model-0 · stopped").wait_for()
        assert book.running(0), "the other bar goes on"
        book.page.get_by_role("button", name="Cancel").click()
        book.wait_for_end(0)
        book.picture("bar-end")
        (cell,) = book.save().cells
        shown = [each for each in cell.outputs if each.output_type == "display_data"]
        assert [each.data for each in shown] == [
            {"text/plain": "model-0 · stopped"},
            {"text/plain": "model-1 · stopped"},
        ]
        assert cell.outputs[-1].text == "True\n"
        assert not book.page.locator(".jupyter-widgets").count()
