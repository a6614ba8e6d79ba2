"""A pull in JupyterLab: its bar moves, is cancelled, goes on, and leaves one line."""

from __future__ import annotations

import re
import time

from tests.support.browser import Lab, LabNotebook
from tests.support.engines import attach
from tests.support.hub_server import Hub
from tests.support.pulls import WEIGHTS
from tests.widgets.browser.conftest import HOSTILE, SEVERAL

PULL = f"%model_pull hf.co/{SEVERAL}"

# Whatever a server may say, on a bar.
SAID = f"""
from llmspell_jupyter.types import PullPhase, PullProgress
from llmspell_jupyter.widgets.pull_bar import PullBar
bars = [PullBar(print, title=each) for each in {HOSTILE!r}]
for bar, words in zip(bars, {HOSTILE!r}):
    bar.update(PullProgress(words, PullPhase.DOWNLOADING, 1, 2, note=words))
"""
END = f"""
for bar, words in zip(bars, {HOSTILE!r}):
    bar.end(words)
"""


def percent(book: LabNotebook, least: int = 1) -> int:
    """Wait until the bar says so many percent; what it says."""
    found = book.page.wait_for_function(
        r"""least => {
          const found = /downloading · (\d+) %/.exec(document.body.innerText);
          return found && Number(found[1]) >= least && Number(found[1]);
        }""",
        arg=least,
    )
    return int(found.json_value())


def saved(book: LabNotebook, number: int) -> list[dict[str, str]]:
    """The outputs of a cell as they lie in the file."""
    cell = book.save().cells[number]
    return [each.get("data", {"text": each.get("text", "")}) for each in cell.outputs]


def test_a_pull_is_cancelled_and_goes_on(opened: Lab, hub: Hub) -> None:
    """The kernel's main thread waits for the pull, so the press is handled beside it."""
    hub.fault(f"{SEVERAL}/{WEIGHTS}", "drip", bytes_per_second=700_000)
    cells = ("%load_ext llmspell_jupyter", PULL, PULL)
    with opened.notebook("pull", *cells) as book:
        book.run_to_end(0)
        book.run(1)
        before = percent(book)
        facts = book.page.get_by_text(
            re.compile(
                r"downloading · \d+ % · [\d.]+ MB of 50.3 MB · .*/s · .* left · \d of \d files"
            )
        )
        facts.wait_for()
        book.picture("bar")
        (twin,) = (each["data"]["text/plain"] for each in book.outputs(1))
        assert "started" in twin
        assert book.running(1)
        began = time.monotonic()
        book.page.get_by_role("button", name="Cancel").click()
        book.wait_for_end(1)
        took = time.monotonic() - began
        book.picture("bar-cancelled")
        lines = saved(book, 1)
        print(took, lines)
        # On the same line it goes on, and so it does when page and kernel are gone meanwhile.
        book.run(2)
        assert percent(book, before) < 100
        book.reload()
        book.picture("bar-reloaded")
        print("reloaded", book.outputs(2))
        book.restart()
        (job,) = (each for each in attach_jobs() if each["kind"] == "pull")
        print(job)
        book.run_to_end(0)
        book.run(2)
        percent(book, before)
        book.picture("bar-joined")
        hub.mend()
        book.wait_for_end(2)
        book.picture("bar-end")
        print(saved(book, 2))
        assert 0


def attach_jobs():
    import os

    return attach(dict(os.environ)).jobs()


def test_hostile_words_are_words(opened: Lab) -> None:
    pass
