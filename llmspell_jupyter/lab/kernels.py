"""One listener on each kernel that a page has asked to be kept."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from jupyter_client.session import Session

from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.lab.recorder import Recorder

if TYPE_CHECKING:
    from jupyter_events import EventLogger
    from jupyter_server.services.kernels.kernelmanager import MappingKernelManager
    from zmq.eventloop.zmqstream import ZMQStream

_ACTIONS = "https://events.jupyter.org/jupyter_server/kernel_actions/v1"

# Between the news of a shutdown and the kernel's leaving the server's list.
_GONE_SECONDS = 2.0


class KernelNotFound(LLMSpellError):
    """The server runs no such kernel, or runs it on another machine."""

    status = 404


class Kept:
    """What one kernel puts out, recorded through a channel of its own.

    Args:
        manager: The kernel's manager.

    Attributes:
        recorder: What was put out so far.
    """

    def __init__(self, manager: Any):
        self.recorder = Recorder()
        self._manager = manager
        self._session = Session(config=manager.session.config, key=manager.session.key)
        self._waiting: set[asyncio.Future[None]] = set()
        self._heard = asyncio.Event()
        self._open()

    async def heard(self) -> None:
        """Wait until the kernel is heard, as it is some time after its channel was opened.

        It is asked to say something; one that does not is left alone after a second.
        """
        if self._heard.is_set():
            return
        # Busy kernels answer there, too.
        control = self._manager.connect_control()
        try:
            for _ in range(10):
                self._manager.session.send(control, "kernel_info_request")
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._heard.wait(), 0.1)
                    return
        finally:
            control.close(linger=0)

    async def changed(self, after: int, seconds: float) -> bool:
        """Wait for a change after this sequence number, at most so long; whether there was any."""
        # A number above the present one is of a kernel that was kept before this one.
        if self.recorder.sequence != after:
            return True
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await asyncio.wait({future}, timeout=seconds)
        finally:
            self._waiting.discard(future)
        return future.done()

    def wake(self) -> None:
        """Tell those that wait."""
        for each in self._waiting:
            if not each.done():
                each.set_result(None)

    def restarted(self) -> None:
        """The kernel has begun anew."""
        if self._ports != self._manager.ports:
            self._stream.close(linger=0)
            self._open()
        # The channel finds its way back by itself, some time after the kernel is there again.
        self._heard.clear()
        self.recorder.restarted()
        self.wake()

    def close(self) -> None:
        """Listen no longer."""
        self._stream.close(linger=0)
        self.recorder.restarted()
        self.wake()

    def _open(self) -> None:
        self._ports = self._manager.ports
        self._stream: ZMQStream = self._manager.connect_iopub()
        # By default messages beyond the thousandth that waits are dropped without a word.
        self._stream.socket.rcvhwm = 0
        self._stream.on_recv(self._take)

    def _take(self, parts: list[bytes]) -> None:
        self._heard.set()
        _, rest = self._session.feed_identities(parts)
        if self.recorder.take(self._session.deserialize(rest)):
            self.wake()


class Keeper:
    """The kernels of a server that are kept, each until it ends.

    Args:
        kernels: The server's kernels.
        events: Where the server tells of what it does with them; without it restarts go unheard.
    """

    def __init__(self, kernels: MappingKernelManager, events: EventLogger | None):
        self._kernels = kernels
        self._kept: dict[str, Kept] = {}
        self._events = events
        self._listens = False

    def get(self, kernel: str) -> Kept | None:
        """A kernel that is kept, by its id."""
        self._sweep()
        return self._kept.get(kernel)

    def keep(self, kernel: str) -> Kept:
        """Keep a kernel from now on.

        Raises:
            KernelNotFound: There is none of this id, or its messages do not reach this server.
        """
        self._sweep()
        if kernel in self._kept:
            return self._kept[kernel]
        if kernel not in self._kernels:
            hint = "Reload the page."
            raise KernelNotFound(f"There is no kernel {kernel[:80]!r}.", hint=hint)
        manager = self._kernels.get_kernel(kernel)
        if not manager.iopub_port:
            hint = "Its cells run as they do without this package."
            raise KernelNotFound("The kernel's messages do not reach this server.", hint=hint)
        if self._events is not None and not self._listens:
            self._listens = True
            self._events.add_listener(schema_id=_ACTIONS, listener=self._acted)
        made = self._kept[kernel] = Kept(manager)
        return made

    async def _acted(self, logger: EventLogger, schema_id: str, data: dict[str, Any]) -> None:
        kept = self._kept.get(data.get("kernel_id", ""))
        if kept is None or data.get("status") != "success":
            return
        if data["action"] == "restart":
            kept.restarted()
        elif data["action"] == "shutdown":
            asyncio.get_running_loop().call_later(_GONE_SECONDS, self._sweep)

    def _sweep(self) -> None:
        for gone in [each for each in self._kept if each not in self._kernels]:
            self._kept.pop(gone).close()
