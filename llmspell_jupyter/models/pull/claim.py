"""Who fetches a file, agreed upon without locks of the file system, which some lack.

A claim is a file that is made whole and at once (by a hard link), and that names its owner. That
of an owner who is gone is taken over: whoever makes ``CLAIM.NONCE``, of which there can be but
one, may put its own claim in place of the one with this nonce.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from llmspell_jupyter.errors import PullError

SUFFIX = ".claim"
_FRESH = ".new"
# For a single look at an owner on another machine.
_SILENT_SECONDS = 600.0
# Nobody needs longer between making a file and writing a line into it.
_UNWRITTEN_SECONDS = 10.0
_RECENT = 2.0


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that holds a claim.

    Attributes:
        machine: Computer, its boot and the room of process numbers in it.
        pid: Its process.
        created: When that began, seconds since the epoch, to tell it from a later one.
        nonce: Tells claims of one process apart.
    """

    machine: str
    pid: int
    created: float
    nonce: str

    def gone(self) -> bool | None:
        """Whether it has ended; None when that cannot be told from here."""
        if self.machine != _machine():
            return None
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < _RECENT
            return not same or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False


class Claim:
    """A claim that this process makes on a file of a store.

    Args:
        partial: The partial file; the claim lies beside it.
        silent_seconds: An owner elsewhere that shows no sign of life for so long is gone.
        clock: Seconds.
    """

    def __init__(
        self,
        partial: Path,
        *,
        silent_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.path = path_of(partial)
        self._me = Owner(_machine(), os.getpid(), _created(), secrets.token_hex(4))
        self._silent_seconds = silent_seconds
        self._clock = clock
        # When each sign of life was first seen here: clocks of machines differ.
        self._seen: dict[Path, tuple[int, float]] = {}

    def take(self) -> bool:
        """Take the claim if nobody has it or its owner is gone."""
        return self._take(self.path)

    def beat(self) -> None:
        """Show that this process lives.

        Raises:
            PullError: Another process has taken the claim over.
        """
        owner = read(self.path)
        if owner is None or owner.nonce != self._me.nonce:
            raise PullError(
                "Another process fetches this model now; it took this one for dead.",
                hint="Type the same line again: it waits for the other one.",
            )
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def release(self) -> None:
        """Give the claim up."""
        owner = read(self.path)
        if owner is not None and owner.nonce == self._me.nonce:
            with contextlib.suppress(OSError):
                self.path.unlink()

    def _take(self, path: Path) -> bool:
        if self._made(path):
            return True
        owner = read(path)
        if not self._is_gone(path, owner):
            return False
        over = path.with_name(f"{path.name}.{owner.nonce if owner else 'unwritten'}")
        if len(over.name) > 250 or not self._take(over):
            return False
        try:
            if read(path) != owner:
                return False
            fresh = self._written(path)
            fresh.replace(path)
            return True
        finally:
            with contextlib.suppress(OSError):
                over.unlink()

    def _is_gone(self, path: Path, owner: Owner | None) -> bool:
        try:
            last = path.stat().st_mtime_ns
        except OSError:
            return False  # It was given up this moment.
        if owner is not None and (gone := owner.gone()) is not None:
            return gone
        beat, seen = self._seen.get(path, (None, 0.0))
        if beat != last:
            beat, seen = self._seen[path] = last, self._clock()
        limit = self._silent_seconds if owner else _UNWRITTEN_SECONDS
        return self._clock() - seen > limit

    def _made(self, path: Path) -> bool:
        fresh = self._written(path)
        try:
            os.link(fresh, path)
            return True
        except FileExistsError:
            return False
        except OSError:
            return self._made_in_place(path)  # A file system without hard links.
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink()

    def _made_in_place(self, path: Path) -> bool:
        try:
            with path.open("x", encoding="utf-8") as file:
                json.dump(asdict(self._me), file)
            return True
        except FileExistsError:
            return False

    def _written(self, path: Path) -> Path:
        fresh = path.with_name(f"{self._me.pid}-{self._me.nonce}{SUFFIX}{_FRESH}")
        text = json.dumps(asdict(self._me))
        try:
            fresh.write_text(text, encoding="utf-8")
        except FileNotFoundError:
            # Somebody who was done has just removed the folder, which was empty.
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(text, encoding="utf-8")
        return fresh


def path_of(path: Path) -> Path:
    """The claim that a file among the partial ones belongs to: all before the first dot."""
    return path.with_name(path.name.partition(".")[0] + SUFFIX)


def read(path: Path) -> Owner | None:
    """Who holds a claim; None when nobody does or it makes no sense."""
    try:
        values = json.loads(path.read_text("utf-8"))
        return Owner(
            str(values["machine"]), int(values["pid"]), float(values["created"]), values["nonce"]
        )
    except (OSError, ValueError, TypeError, LookupError):
        return None


def is_alive(path: Path) -> bool:
    """Whether somebody is at work on what a file among the partial ones belongs to."""
    return _is_alive(path_of(path))


def sweep(folder: Path) -> None:
    """Remove claims of processes that are gone, and what they left of their making."""
    with contextlib.suppress(OSError):
        for path in [each for each in folder.iterdir() if SUFFIX in each.name]:
            if _is_alive(path):
                continue
            if path.name.endswith(_FRESH):
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            # Removing it outright could hit the claim of one who is taking it over.
            mine = Claim(path, silent_seconds=_SILENT_SECONDS)
            mine.path = path
            if mine.take():
                mine.release()


def _is_alive(path: Path) -> bool:
    owner = read(path)
    if owner is not None and (gone := owner.gone()) is not None:
        return not gone
    try:
        age = time.time() - path.stat().st_mtime
    except OSError:
        return False
    return age < (_SILENT_SECONDS if owner else _UNWRITTEN_SECONDS)


@functools.cache
def _machine() -> str:
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _created() -> float:
    return float(psutil.Process().create_time())
