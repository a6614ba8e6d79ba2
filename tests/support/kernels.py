"""A notebook without a browser: a real kernel and what its cells put out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

CELL_SECONDS = 60.0


@dataclass
class Output:
    """What one cell put out.

    Attributes:
        shown: Data of each ``display_data``, in order.
        updates: Data of each ``update_display_data``.
        value: ``text/plain`` of the cell's value.
        error: Name of the error.
        traceback: Its lines as shown.
    """

    stdout: str = ""
    stderr: str = ""
    shown: list[dict[str, Any]] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    value: str | None = None
    error: str | None = None
    traceback: str = ""
    seconds: float = 0.0

    def add(self, message: dict[str, Any]) -> None:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            setattr(self, content["name"], getattr(self, content["name"]) + content["text"])
        elif kind == "display_data":
            self.shown.append(content["data"])
        elif kind == "update_display_data":
            self.updates.append(content["data"])
        elif kind == "execute_result":
            self.value = content["data"]["text/plain"]
        elif kind == "error":
            self.error = content["ename"]
            self.traceback = "\n".join(content["traceback"])


class Notebook:
    """A kernel that runs cells one after the other."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient):
        self.manager = manager
        self.client = client

    def run(
        self,
        source: str,
        *,
        until: Callable[[Output], bool] | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> Output:
        """Run a cell to its end.

        Args:
            source: The cell.
            until: Asked after each output; the first time it is true, ``then`` is called.
            then: What to do while the cell runs, such as to interrupt it.

        The ``seconds`` of the output count from ``then`` if it was called.
        """
        return self.finish(self.begin(source), until=until, then=then)

    def begin(self, source: str) -> str:
        """Start a cell; ``finish`` takes what this returns."""
        request: str = self.client.execute(source)
        return request

    def finish(
        self,
        request: str,
        *,
        until: Callable[[Output], bool] | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> Output:
        """What a cell puts out until it ends; the arguments are those of ``run``."""
        output = Output()
        waiting = until is not None
        started = time.monotonic()
        while True:
            message = self.client.get_iopub_msg(timeout=CELL_SECONDS)
            if message["parent_header"].get("msg_id") != request:
                continue
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
            output.add(message)
            if waiting and until is not None and until(output):
                waiting = False
                started = time.monotonic()
                then()
        output.seconds = time.monotonic() - started
        assert not waiting, f"the cell ended before what was waited for: {output}"
        return output

    def good(self, source: str) -> Output:
        """Run a cell that must not fail."""
        output = self.run(source)
        assert output.error is None, output.traceback
        return output

    def value(self, expression: str) -> str:
        """``repr`` of a Python expression."""
        value = self.good(expression).value
        assert value is not None
        return value

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    def restart(self) -> None:
        self.manager.restart_kernel(now=False)
        self.client.wait_for_ready(timeout=CELL_SECONDS)
        # The channel of outputs comes back by itself some time after the others, and what was
        # sent before is lost.
        deadline = time.monotonic() + CELL_SECONDS
        while time.monotonic() < deadline:
            self.client.kernel_info()
            with suppress(Empty):
                self.client.get_iopub_msg(timeout=0.5)
                return
        raise AssertionError("the kernel's outputs did not come back after a restart")


@contextmanager
def notebook(**environment: str) -> Iterator[Notebook]:
    """A fresh kernel with the extension loaded."""
    manager, client = start_new_kernel(
        kernel_name="python3", env=os.environ | environment, startup_timeout=CELL_SECONDS
    )
    try:
        book = Notebook(manager, client)
        book.good("%load_ext llmspell_jupyter")
        yield book
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
