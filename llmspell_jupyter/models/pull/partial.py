"""A file that is being fetched: its partial, its journal, and its hash as far as it is there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmspell_jupyter.errors import HashMismatch
from llmspell_jupyter.models.pull import claim, journal
from llmspell_jupyter.models.pull.journal import Header, Journal
from llmspell_jupyter.models.pull.pace import PACE, Pace
from llmspell_jupyter.models.pull.ranges import Part, Parts, Ranges
from llmspell_jupyter.models.transfer.sockets import Sockets

if TYPE_CHECKING:
    from llmspell_jupyter.models.hub import RemoteFile

#: Folder of partial files in the folder of a repository.
FOLDER = ".llmspell"
SUFFIX = ".part"
JOURNAL = ".journal"

_MAYBE_ONCE = "Type the same line again. If it stays so, tell the owner of the model."
_UNLOCKED = "Pull the model without --locked, then type: %model_lock"

_HASHED = 2 * 1024**2
# Threads of one pull write into it; no other user needs to read it.
_MODE = 0o600
# For systems without reads and writes at a place.
_seeking = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Expected:
    """A hash that a file must have: its kind, whose it is, and what to do about another."""

    value: str
    kind: str
    what: str
    hint: str


class Partial:
    """One file of a pull. Several threads write, one hashes, one looks.

    Args:
        folder: Where partial files lie.
        file: What it will be.
        pace: Sizes of its parts.
        also: SHA-256 that it must have besides, as a lock file says; None for none.

    Attributes:
        local: A copy in another store of this machine, which is taken instead of the network.
        resumed: It holds bytes of an earlier run.
        fetched: Bytes that came over the network now.
        again: How often it was begun anew.
        whole: The server sends it only as a whole.
    """

    def __init__(self, folder: Path, file: RemoteFile, pace: Pace, also: str | None = None):
        self.file = file
        self.path = folder / f"{file.blob}{SUFFIX}"
        self.local: Path | None = None
        self.resumed = False
        self.fetched = 0
        self.again = 0
        self.whole = False
        self._copied = False
        self._also = also
        self._pace = pace
        self._changed = threading.Condition()
        self._there = Ranges()
        self._etag: str | None = None
        self._journal: Journal | None = None
        self._disk: int | None = None
        self._old: list[int] = []
        self._round = 0
        self._parts = self._fresh_parts()

    def open(self) -> None:
        """Go on where an earlier run was, or begin."""
        known = journal.read(self._journal_path)
        if known is not None and (known[0].blob, known[0].size) == (self.file.blob, self.file.size):
            # A partial that lost its end has lost what its journal says of it.
            length = self.path.stat().st_size if self.path.is_file() else 0
            for start, end in known[1]:
                self._there.add(start, min(end, length))
            self._etag = known[0].etag or None
        self.resumed = self._there.total > 0
        self._begin()

    def close(self) -> None:
        """Keep what there is for the next run. No thread may use it any longer."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        for disk in (*self._old, *([] if self._disk is None else [self._disk])):
            os.close(disk)
        self._old, self._disk = [], None

    def discard(self) -> None:
        """Throw away what there is. Threads may be at it still; whoever runs them closes it."""
        remove(self.path)

    def restart(self) -> None:
        """Begin anew while threads are at it; what they bring still is not taken."""
        with self._changed:
            self._round += 1
            self.again += 1
            self._there = Ranges()
            self._etag = None
            self.resumed = self._copied = self.whole = False
            self._parts = self._fresh_parts()
            if self._disk is not None:
                # Threads may be writing to it still.
                self._old.append(self._disk)
                self._disk = None
            remove(self.path)
            self._begin()
            self._changed.notify_all()

    @property
    def done(self) -> int:
        """Bytes that are on disk and noted."""
        with self._changed:
            return self._there.total

    @property
    def complete(self) -> bool:
        """Whether all bytes are there; they may be wrong ones."""
        return self.done == self.file.size

    def known_as(self, etag: str | None) -> bool:
        """Whether the server's name for the content is the one that it had before."""
        with self._changed:
            if etag is None:
                return True
            if self._etag is None or not self._there.total:
                if etag != self._etag:
                    self._etag = etag
                    self._write_journal()
                return True
            return etag == self._etag

    def is_round(self, of: int) -> bool:
        """Whether it was not begun anew since."""
        return of == self._round

    def take(self) -> tuple[Part, int] | None:
        """A part to fetch and the round that it belongs to."""
        with self._changed:
            self._parts.whole = self.whole
            part = self._parts.take()
            return None if part is None else (part, self._round)

    def leave(self, part: Part, of: int) -> None:
        """Somebody no longer fetches this part."""
        with self._changed:
            if of == self._round:
                self._parts.leave(part)

    def write(self, at: int, data: memoryview, of: int) -> None:
        """Put bytes in their place. They count once they are noted."""
        # In this order: of a round that is over only its own file is written to.
        disk = self._disk
        if of != self._round or disk is None:
            return
        while data:
            count = _write_at(disk, data, at)
            data, at = data[count:], at + count

    def note(self, part: Part, to: int, of: int, *, came: bool = True) -> int:
        """What somebody wrote of a part, up to here, is there.

        Returns:
            Bytes of it that were not there before.
        """
        with self._changed:
            if of != self._round or to <= part.at or self._journal is None:
                return 0
            self._journal.note(part.at, to)
            before = self._there.total
            self._there.add(part.at, to)
            if came:
                self.fetched += to - part.at
            else:
                self._copied = True
            part.at = to
            self._changed.notify_all()
            return self._there.total - before

    def digest(self, sockets: Sockets, said: Callable[[str], None]) -> None:
        """Follow the bytes as they come, to the end.

        Args:
            sockets: Of the pull; its end ends this.
            said: Called with what the user should know.

        Raises:
            HashMismatch: They are not those that were published.
            Interrupted: The pull is over.
        """
        while True:
            round_, found = self._hashed(sockets)
            if round_ != self._round:
                continue
            wrong = [each for each in self._expected() if found[each.kind] != each.value]
            if not wrong:
                return
            if self.again or not (self.resumed or self._copied):
                raise self._mismatch(wrong[0], found[wrong[0].kind])
            what = (
                "is damaged in the shared store"
                if self._copied
                else "was damaged since the last time, by a power loss perhaps"
            )
            said(f"{self.file.path} {what}; it is fetched again.")
            self.local = None
            self.restart()

    def sync(self) -> None:
        """Have the system write it to disk."""
        if self._disk is not None:
            os.fsync(self._disk)

    @property
    def _journal_path(self) -> Path:
        return self.path.with_suffix(JOURNAL)

    def _fresh_parts(self) -> Parts:
        pace = self._pace
        share = self.file.size // (4 * pace.connections)
        part = max(pace.least_part, min(pace.most_part, share))
        return Parts(self.file.size, self._there, part, pace.least_part)

    def _begin(self) -> None:
        if self._disk is None:
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
            # Never through a link that somebody laid here.
            flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
            try:
                self._disk = os.open(self.path, flags, _MODE)
            except PermissionError:
                # Another user's, whose process is gone.
                remove(self.path)
                self._there, self._etag, self.resumed = Ranges(), None, False
                self._disk = os.open(self.path, flags, _MODE)
        if not self._there.total:
            os.ftruncate(self._disk, 0)
        self._parts = self._fresh_parts()
        self._write_journal()

    def _write_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        header = Header(self.file.blob, self.file.path, self.file.size, self._etag or "")
        self._journal = Journal(self._journal_path, header, self._there)

    def _hashed(self, sockets: Sockets) -> tuple[int, dict[str, str]]:
        round_, at = self._round, 0
        hashes = {"sha256": hashlib.sha256()}
        if self.file.sha256 is None:
            hashes["git"] = hashlib.sha1(b"blob %d\0" % self.file.size, usedforsecurity=False)
        buffer = memoryview(bytearray(min(_HASHED, max(1, self.file.size))))
        while at < self.file.size:
            with self._changed:
                while self._round == round_ and self._there.prefix <= at:
                    self._changed.wait(0.2)
                    sockets.check()
                if self._round != round_:
                    return round_, {}
                to = min(self._there.prefix, at + len(buffer))
                disk = self._disk
            sockets.check()
            if disk is None:
                continue
            count = _read_at(disk, buffer[: to - at], at)
            if not count:
                return round_, dict.fromkeys(hashes, "shorter than it was")
            for each in hashes.values():
                each.update(buffer[:count])
            at += count
        return round_, {kind: each.hexdigest() for kind, each in hashes.items()}

    def _expected(self) -> Iterator[_Expected]:
        """What the file must hash to."""
        if self.file.sha256:
            yield _Expected(self.file.sha256.lower(), "sha256", "what was published", _MAYBE_ONCE)
        elif self.file.oid:
            yield _Expected(self.file.oid.lower(), "git", "what was published", _MAYBE_ONCE)
        if self._also:
            yield _Expected(self._also.lower(), "sha256", "what is locked", _UNLOCKED)

    def _mismatch(self, expected: _Expected, found: str) -> HashMismatch:
        path, value = self.file.path, expected.value
        return HashMismatch(
            f"{path} is not {expected.what}: its hash is {found[:12]}..., not {value[:12]}...; "
            "it was thrown away.",
            hint=expected.hint,
            data={"files": [{"path": path, "expected": value, "found": found}]},
        )


def _write_at(disk: int, data: memoryview, at: int) -> int:
    if hasattr(os, "pwrite"):
        return os.pwrite(disk, data, at)
    with _seeking:
        os.lseek(disk, at, os.SEEK_SET)
        return os.write(disk, data)


def _read_at(disk: int, buffer: memoryview, at: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(disk, [buffer], at)
    with _seeking:
        os.lseek(disk, at, os.SEEK_SET)
        data = os.read(disk, len(buffer))
    buffer[: len(data)] = data
    return len(data)


def remove(path: Path) -> None:
    """Remove a partial file and its journal."""
    for each in (path, path.with_suffix(JOURNAL), path.with_name(f"{path.stem}{JOURNAL}.new")):
        with contextlib.suppress(FileNotFoundError):
            each.unlink()


def held(folder: Path, blob: str) -> int:
    """Bytes of a file that its partial holds."""
    known = journal.read(folder / f"{blob}{JOURNAL}")
    return known[1].total if known is not None else 0


def sweep(folder: Path, files: dict[str, str]) -> None:
    """Remove partial files that no pull will go on with.

    Args:
        folder: Of partial files.
        files: What the files are called in the repository, and in the store now; a partial of an
            older state of one of them is of no more use.
    """
    claim.sweep(folder)
    with contextlib.suppress(OSError):
        for path in [*folder.iterdir()]:
            if claim.SUFFIX in path.name or not path.is_file():
                continue
            partial = path.with_name(path.name.partition(".")[0] + SUFFIX)
            known = journal.read(partial.with_suffix(JOURNAL))
            # Without a journal nothing of it counts.
            if known is not None and files.get(known[0].path, partial.stem) == partial.stem:
                continue
            mine = claim.Claim(partial, silent_seconds=PACE.silent_seconds)
            if mine.take():
                remove(partial)
                mine.release()
    with contextlib.suppress(OSError):
        folder.rmdir()
