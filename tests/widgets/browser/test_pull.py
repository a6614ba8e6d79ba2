"""``%model_pull`` in JupyterLab: its bar moves, is cancelled, and the same line goes on."""

from __future__ import annotations

import re
import time

from tests.support import pulls
from tests.support.browser import Lab, LabNotebook
from tests.support.hub_server import Hub

SEVERAL = "lab/several"
SIZE = 24 * 1024**2
PULL = f"%model_pull hf.co/{SEVERAL}"


def _percent(book: LabNotebook, least: int = 1) -> int:
    """Wait until the bar says so many percent; what it says."""
    found = book.page.wait_for_function(
        r"""least => {
          const found = /downloading · (\d+) %/.exec(document.body.innerText);
          return found && Number(found[1]) >= least && Number(found[1]);
        }""",
        arg=least,
    )
    return int(found.json_value())


def _saved(book: LabNotebook, number: int) -> str:
    """What a cell has put out, as it lies in the file: lines, and no dead widget."""
    lines = []
    for output in book.save().cells[number].outputs:
        data = output.get("data", {})
        assert "application/vnd.jupyter.widget-view+json" not in data
        lines.append(data.get("text/plain") or "\n".join(output.get("traceback", ())))
    return "\n".join(filter(None, lines))


def test_a_pull_is_cancelled_and_goes_on(opened: Lab, hub: Hub) -> None:
    """The kernel's main thread waits for the pull, so the press is handled beside it."""
    files = pulls.files(SIZE)
    hub.add(SEVERAL, files, license="mit")
    hub.fault(f"{SEVERAL}/{pulls.WEIGHTS}", "drip", bytes_per_second=500_000)
    with opened.notebook("pull-model", "%load_ext llmspell_jupyter", PULL, PULL) as book:
        book.run_to_end(0)
        book.run(1)
        before = _percent(book)
        book.page.get_by_text(
            re.compile(r"downloading · \d+ % · .* MB of .* MB · .*/s · .* left · \d of \d files")
        ).wait_for()
        book.picture("pull-bar")
        assert book.running(1)
        began = time.monotonic()
        book.page.get_by_role("button", name="Cancel").click()
        book.wait_for_end(1)
        assert time.monotonic() - began < 5
        assert f"The same line goes on: {PULL}" in _saved(book, 1)
        served = hub.served(f"{SEVERAL}/{pulls.WEIGHTS}")
        book.run(2)
        assert _percent(book, before) < 100
        hub.mend()
        book.wait_for_end(2)
        book.picture("pull-end")
        assert _saved(book, 2).startswith(f"{SEVERAL} is ready: ")
        assert hub.served(f"{SEVERAL}/{pulls.WEIGHTS}") < SIZE * 1.2 + served
