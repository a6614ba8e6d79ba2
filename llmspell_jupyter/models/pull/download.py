"""Fetching the files of a pull: several connections, one thread that hashes behind them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence

from llmspell_jupyter.errors import Interrupted, LLMSpellError, PullError
from llmspell_jupyter.models.pull import limit, space
from llmspell_jupyter.models.pull.pace import Pace
from llmspell_jupyter.models.pull.partial import Partial
from llmspell_jupyter.models.pull.ranges import Part
from llmspell_jupyter.models.transfer.addresses import AGAIN
from llmspell_jupyter.models.transfer.client import Client, Wanted
from llmspell_jupyter.models.transfer.failures import Again, Changed
from llmspell_jupyter.models.transfer.line import Line

#: Name of its threads.
THREAD = "llmspell pull"

_BUFFER = 512 * 1024
# So much is progress, after which failures are counted from the beginning.
_PROGRESS = 64 * 1024
# After so much a server that was busy is asked over one more connection.
_CALM = 32 * 1024**2
_LOOK_SECONDS = 0.05
# A slow connection notes what came at least so often.
_NOTED_SECONDS = 0.5


class Download:
    """Files on their way. ``run`` blocks; the other methods are for its threads.

    Args:
        client: Asks the servers.
        files: What to fetch, with the address of each.
        pace: How hard to try.
        bucket: The pull's own limit.
    """

    def __init__(
        self,
        client: Client,
        files: Sequence[tuple[Partial, Wanted]],
        pace: Pace,
        bucket: limit.Bucket,
    ):
        self._client = client
        self._sockets = client.sockets
        self._files = files
        self._pace = pace
        self._bucket = bucket
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._failure: BaseException | None = None
        self._hashed = False
        self._width = pace.connections
        self._calm = 0
        self._tries = 0
        self._since = 0
        self._not_before = 0.0
        # What the user should know now; empties when it was said and there is progress again.
        self._passing = ""
        self._told = False
        #: What the user should know for good.
        self.notes: list[str] = []

    def run(self, stop: threading.Event, look: Callable[[], None]) -> None:
        """Fetch and hash all.

        Args:
            stop: Ends it.
            look: Called several times a second, on this thread.

        Raises:
            Interrupted: It was stopped.
            PullError: It failed.
            HashMismatch: What came is not what was published.
        """
        threads = [
            threading.Thread(target=self._fetching, args=(index,), name=THREAD, daemon=True)
            for index in range(self._pace.connections)
        ]
        threads.append(threading.Thread(target=self._hashing, name=THREAD, daemon=True))
        for each in threads:
            each.start()
        try:
            while not self._hashed and self._failure is None:
                if stop.wait(_LOOK_SECONDS):
                    raise Interrupted("The pull was stopped.", hint=AGAIN)
                look()
            if self._failure is not None:
                raise self._failure
            look()
        finally:
            self._sockets.shut()
            with self._work:
                self._work.notify_all()
            until = time.monotonic() + (0.3 if stop.is_set() else 5.0)
            for each in threads:
                each.join(max(0.0, until - time.monotonic()))
            if any(each.is_alive() for each in threads):
                # Looking a name up cannot be ended; nobody waits for it.
                threading.Thread(target=self._close, args=(threads,), daemon=True).start()
            else:
                self._close(threads)

    def _close(self, threads: Sequence[threading.Thread]) -> None:
        for each in threads:
            each.join()
        for partial, _ in self._files:
            partial.close()

    @property
    def note(self) -> str:
        """What the user should know."""
        self._told = True
        return self._passing or " ".join(self.notes)

    def _hashing(self) -> None:
        try:
            for partial, _ in self._files:
                partial.digest(self._sockets, self._say)
                partial.sync()
            self._hashed = True
        except Interrupted:
            pass
        except BaseException as error:
            self._fail(error)

    def _fetching(self, index: int) -> None:
        line = Line(self._client)
        buffer = memoryview(bytearray(_BUFFER))
        try:
            while True:
                partial, wanted, part, of = self._next(index)
                begun = time.monotonic()
                try:
                    if partial.local is not None:
                        self._copy(partial, part, of, buffer)
                    else:
                        self._fetch(line, partial, wanted, part, of, buffer)
                except Again as error:
                    line.close()
                    self._failed(error, begun)
                except Changed:
                    line.close()
                    self._changed(partial, wanted, of)
                finally:
                    partial.leave(part, of)
                    with self._work:
                        self._work.notify_all()
        except Interrupted:
            pass
        except BaseException as error:
            self._fail(error)
        finally:
            line.close()

    def _next(self, index: int) -> tuple[Partial, Wanted, Part, int]:
        """Something to do, waited for if need be; ``Interrupted`` at the end."""
        while True:
            self._sockets.check()
            if self._failure is not None:
                raise Interrupted("The pull has failed.")
            wait = self._not_before - time.monotonic()
            if wait > 0:
                self._sockets.pause(wait)
                continue
            if index < self._width:
                for partial, wanted in self._files:
                    found = partial.take()
                    if found is not None:
                        return partial, wanted, *found
            with self._work:
                self._work.wait(0.2)

    def _fetch(
        self,
        line: Line,
        partial: Partial,
        wanted: Wanted,
        part: Part,
        of: int,
        buffer: memoryview,
    ) -> None:
        place = part.at
        answer = line.get(wanted, place, part.end)
        try:
            if not partial.known_as(answer.etag):
                raise Changed
            if answer.whole and (place, part.end) != (0, partial.file.size):
                self._one_stream(partial, line)
                if place:
                    return
                part.end = partial.file.size
            slow = _Slow(self._pace)
            noted = time.monotonic()
            while place < min(part.end, answer.end):
                count = self._wait_for(answer.read_into, buffer, slow)
                partial.write(place, buffer[:count], of)
                place += count
                self._calms(count)
                now = time.monotonic()
                if place - part.at >= self._pace.commit or now - noted > _NOTED_SECONDS:
                    noted = now
                    self._gained(partial.note(part, min(place, part.end), of))
        finally:
            self._gained(partial.note(part, min(place, part.end), of))
            answer.close()

    def _wait_for(
        self, read_into: Callable[[memoryview], int], buffer: memoryview, slow: _Slow
    ) -> int:
        most = limit.EVERYBODY.most(self._bucket.most(len(buffer)))
        begun = time.monotonic()
        count = read_into(buffer[:most])
        slow.add(count, time.monotonic() - begun)
        wait = max(self._bucket.take(count), limit.EVERYBODY.take(count))
        if wait:
            self._sockets.pause(wait)
        return count

    def _copy(self, partial: Partial, part: Part, of: int, buffer: memoryview) -> None:
        """Take a part from another store of this machine."""
        assert partial.local is not None
        try:
            with partial.local.open("rb", buffering=0) as file:
                file.seek(part.at)
                while part.at < part.end:
                    self._sockets.check()
                    count = file.readinto(buffer[: part.end - part.at])
                    if not count:
                        raise EOFError
                    partial.write(part.at, buffer[:count], of)
                    partial.note(part, part.at + count, of, came=False)
        except (OSError, EOFError) as error:
            if isinstance(error, OSError) and space.is_full(error):
                raise
            partial.local = None  # It has gone or changed; there is the network still.

    def _one_stream(self, partial: Partial, line: Line) -> None:
        if not partial.whole:
            partial.whole = True
            self._say(
                f"{line.origin} sends files only as a whole: one connection, and a stop begins "
                f"{partial.file.path} anew."
            )

    def _calms(self, count: int) -> None:
        """So many bytes flowed."""
        self._calm += count
        if self._calm >= _CALM and self._width < self._pace.connections:
            self._width, self._calm = self._width + 1, 0

    def _gained(self, count: int) -> None:
        """So many bytes are there that were not before; those that come again are no progress."""
        self._since += count
        if self._since >= _PROGRESS:
            self._since, self._tries = 0, 0
            if self._told:
                self._passing = ""

    def _failed(self, error: Again, begun: float) -> None:
        with self._lock:
            if error.fewer:
                self._width, self._calm = max(1, self._width // 2), 0
            self._passing, self._told = f"{error.why}; it is asked again.", False
            if begun < self._not_before or self._failure is not None:
                return  # Another connection met the same.
            now = time.monotonic()
            self._tries += 1
            self._since = 0
            if self._tries >= self._pace.tries:
                self._failure = error.error or _given_up(error.why, self._tries)
                return
            wait = min(self._pace.longest_wait, self._pace.first_wait * 2 ** (self._tries - 1))
            wait *= random.uniform(0.7, 1.3)
            if error.wait is not None:
                if error.wait > self._pace.longest_asked:
                    self._failure = _told_to_wait(error.why, error.wait)
                    return
                wait = max(wait, error.wait)
            self._not_before = now + wait
            if wait >= 1:
                self._passing = f"{error.why}; it is asked again in {wait:.0f} s."

    def _changed(self, partial: Partial, wanted: Wanted, of: int) -> None:
        with self._lock:
            if not partial.is_round(of):
                return
            self._client.remember(wanted, None)
            if partial.again:
                raise PullError(
                    f"{wanted.name} changes on the server while it is fetched.", hint=AGAIN
                )
            self._say(f"{partial.file.path} has changed on the server; it is fetched anew.")
            partial.restart()

    def _say(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, LLMSpellError) and isinstance(error, OSError):
            error = space.of_error(error, self._files[0][0].path) or PullError(
                f"The model cannot be written: {error.strerror or error}.", hint=AGAIN
            )
        with self._lock:
            self._failure = self._failure or error


class _Slow:
    """Gives a connection up that brings next to nothing."""

    def __init__(self, pace: Pace):
        self._pace = pace
        self._seconds = 0.0
        self._bytes = 0

    def add(self, count: int, seconds: float) -> None:
        self._bytes += count
        self._seconds += seconds
        if self._seconds > 2 * self._pace.stall_seconds:
            if self._bytes < self._pace.least_rate * self._seconds:
                raise Again(f"The server sends {self._bytes / self._seconds:.0f} bytes a second")
            self._seconds, self._bytes = 0.0, 0


def _given_up(why: str, tries: int) -> PullError:
    return PullError(
        f"{why}; it was asked {tries} times in a row.", hint=AGAIN, data={"tries": tries}
    )


def _told_to_wait(why: str, seconds: float) -> PullError:
    return PullError(
        f"{why} and asks to wait {seconds:,.0f} s.",
        hint=f"Wait so long. {AGAIN}",
        data={"seconds": seconds},
    )
