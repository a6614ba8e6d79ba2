"""Whether the bytes of a model are those that were published."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmspell_jupyter.errors import HashMismatch, Interrupted
from llmspell_jupyter.models import store
from llmspell_jupyter.models.problems import cannot_open
from llmspell_jupyter.models.safetensors import INDEX
from llmspell_jupyter.models.store import bundled, hub_cache, repairs
from llmspell_jupyter.models.store.files import files_of
from llmspell_jupyter.types import FileProgress, ModelInfo, PullPhase, PullProgress

Report = Callable[[PullProgress], None]

#: What a blob's name says: SHA-256 of large files, git's own hash of small ones.
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT = re.compile(r"[0-9a-f]{40}")
_OLLAMA = re.compile(r"sha256-([0-9a-f]{64})")

_CHUNK = 1024 * 1024
_BETWEEN_REPORTS = 0.1


@dataclass(slots=True)
class _File:
    """A file, and what it must be.

    Attributes:
        name: Its name in the model.
        path: Where it is.
        expected: Its hash in hexadecimal digits; None when nobody says.
        size: Bytes; None when it is not there.
        done: Bytes of it that have been read.
    """

    name: str
    path: Path
    expected: str | None
    size: int | None
    done: int = 0


def verify(model: ModelInfo, report: Report, stop: threading.Event) -> PullProgress:
    """Read every file of a model and compare it with what its store says it must be.

    Files of the Hugging Face cache and of Ollama are named by their hash; those of a package
    are listed in it. Nothing says what other files must be: of these only the header is checked.

    Args:
        model: The model.
        report: Told how far it is, from this thread.
        stop: Ends it within half a second.

    Returns:
        The last progress, ``complete``. Its metadata have ``checked``, ``sha256`` or ``header``.

    Raises:
        HashMismatch: Files are missing or not those that were published; it names each.
        BadModelFile: A file cannot be read, or its header is damaged.
        UnsafeFormat: Loading it could run code.
        Interrupted: It was stopped.
    """
    check = _Check(model, report, stop)
    wrong = [each for file in check.files if (each := check.compare(file))]
    if any(each["path"] == INDEX for each in wrong):
        # What a damaged index says is missing may never have been.
        wrong = [each for each in wrong if each["expected"] is not None]
    if wrong:
        raise _mismatch(model, wrong)
    if model.format != "echo":
        store.explain(model)
    return check.complete()


class _Check:
    """One run over the files of a model."""

    def __init__(self, model: ModelInfo, report: Report, stop: threading.Event):
        self._model = model
        self._report = report
        self._stop = stop
        self._begun = self._reported = time.monotonic()
        self.files = _files(model)
        self._tell(PullPhase.VERIFYING)

    def compare(self, file: _File) -> dict[str, str | None] | None:
        """What is wrong with a file; None when nothing is."""
        found: str | None = None
        if file.size is not None:
            if file.expected is None:
                file.done = file.size
                return None
            found = self._hash(file)
            if found == file.expected:
                return None
        return {"path": file.name, "expected": file.expected, "found": found}

    def complete(self) -> PullProgress:
        unknown = [file.name for file in self.files if file.expected is None]
        seconds = time.monotonic() - self._begun
        return self._tell(
            PullPhase.COMPLETE,
            note=_note(len(unknown), len(self.files)),
            repository=self._model.repository,
            revision=self._model.revision,
            path=str(self._model.path),
            files=[file.name for file in self.files],
            bytes=sum(file.size or 0 for file in self.files),
            downloaded=0,
            seconds=round(seconds, 3),
            checked="header" if len(unknown) == len(self.files) else "sha256",
            unchecked=unknown,
        )

    def _hash(self, file: _File) -> str:
        try:
            with file.path.open("rb", buffering=0) as source:
                if len(file.expected or "") == 40:
                    digest = hashlib.sha1(b"blob %d\0" % (file.size or 0), usedforsecurity=False)
                else:
                    digest = hashlib.sha256()
                buffer = memoryview(bytearray(_CHUNK))
                while count := source.readinto(buffer):
                    digest.update(buffer[:count])
                    file.done += count
                    self._go_on()
        except OSError as error:
            raise cannot_open(file.path, error) from None
        return digest.hexdigest()

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Interrupted(
                f"The check of {self._model.id} was stopped.", data={"model": self._model.id}
            )
        if time.monotonic() - self._reported >= _BETWEEN_REPORTS:
            self._tell(PullPhase.VERIFYING)

    def _tell(self, phase: PullPhase, note: str = "", **metadata: object) -> PullProgress:
        self._reported = time.monotonic()
        done = sum(file.done for file in self.files)
        total = sum(file.size or 0 for file in self.files)
        seconds = self._reported - self._begun
        speed = done / seconds if done and seconds > 0 else None
        progress = PullProgress(
            model=self._model.id,
            phase=phase,
            done=done,
            total=total,
            bytes_per_second=speed,
            seconds_left=max(0.0, total - done) / speed if speed else None,
            files=tuple(FileProgress(file.name, file.done, file.size) for file in self.files),
            note=note,
            metadata=metadata,
        )
        self._report(progress)
        return progress


def _note(unknown: int, count: int) -> str:
    if not unknown:
        return ""
    which = "its files" if unknown == count else f"{unknown} of its {count} files"
    return f"Only the header was checked: there is nothing to hold the bytes of {which} against."


def _mismatch(model: ModelInfo, wrong: list[dict[str, str | None]]) -> HashMismatch:
    said = [
        f"{each['path']} is missing"
        if each["found"] is None
        else f"{each['path']} should be {each['expected']} and is {each['found']}"
        for each in wrong
    ]
    return HashMismatch(
        f"{model.id} is damaged: {'; '.join(said)}.",
        hint=repairs.hint(model) or f"Fetch or copy it again to {model.path}",
        data={"model": model.id, "files": wrong},
    )


def _files(model: ModelInfo) -> list[_File]:
    """The files of a model, each with what its store says of it."""
    known = _in_package(model) if model.store == "bundled" else {}
    base = model.path if model.format == "safetensors" else model.path.parent
    if snapshot := hub_cache.snapshot_of(model.path):
        base = snapshot.path
    found = []
    for path in sorted({*files_of(model), *known}):
        expected = known.get(path)
        if model.store == "ollama" and (match := _OLLAMA.fullmatch(path.name)):
            expected = match[1]
        elif snapshot:
            expected = _blob_of(snapshot, path)
        try:
            size = path.stat().st_size
        except OSError:
            size = None
        name = path.relative_to(base).as_posix()
        found.append(_File(name, path, expected, size))
    return found


def _blob_of(snapshot: hub_cache.Snapshot, path: Path) -> str | None:
    """The hash that the name of a file's blob tells; None for a file that is a copy."""
    blob = snapshot.blob_of(path)
    if blob and (_SHA256.fullmatch(blob.name) or _GIT.fullmatch(blob.name)):
        return blob.name
    return None


def _in_package(model: ModelInfo) -> dict[Path, str]:
    """SHA-256 of each file of a bundled model, as its package lists them."""
    return {
        path: digest
        for path, digest in bundled.hashes(model.id).items()
        if path == model.path or model.path in path.parents
    }
