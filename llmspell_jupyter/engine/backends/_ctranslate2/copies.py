"""Where the converted form of a model lies, and how it gets there whole."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock

from llmspell_jupyter.config import paths
from llmspell_jupyter.errors import EngineError
from llmspell_jupyter.types import ModelInfo

#: Counts up when what is written changes.
VERSION = 1

_BESIDE = ".llmspell"
_PARTIAL = ".partial-"
_LOCK = "lock"

# What the files take beside the numbers: names, scales, norms.
_MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class Copy:
    """The converted form of a model, made or yet to be made.

    Attributes:
        kind: How its numbers are held: ``int8`` or ``float32``.
        name: Name of its folder; another one as soon as the model's files change.
        places: Folders that it may lie in, the preferred first.
    """

    kind: str
    name: str
    places: tuple[Path, ...]

    def found(self) -> Path | None:
        """Its folder; None when it is yet to be made."""
        folders = (place / self.name for place in self.places)
        return next((folder for folder in folders if folder.is_dir()), None)

    def make(self, size: int, write: Callable[[Path], None]) -> Path:
        """Make it, unless another process has done so in the meantime.

        It is written under another name first, so that one that is there is whole; older ones
        of this kind are removed.

        Args:
            size: Bytes that it will take, about.
            write: Writes its files into an empty folder.

        Returns:
            Its folder.

        Raises:
            EngineError: No place can be written to, or there is no room.
        """
        place, lock = self._open_place()
        with lock:
            if (found := self.found()) is not None:
                return found
            self._clear(place, (_PARTIAL,))
            _check_room(place, size)
            partial = place / f"{_PARTIAL}{os.getpid()}"
            try:
                partial.mkdir()
                write(partial)
                _flush(partial)
                target = partial.rename(place / self.name)
            except OSError as error:
                raise _cannot_write(place, error) from error
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            self._clear(place, (f"ctranslate2-{self.kind}-",))
            return target

    def _open_place(self) -> tuple[Path, filelock.BaseFileLock]:
        failure: OSError | None = None
        for place in self.places:
            lock = filelock.FileLock(place / _LOCK)
            try:
                place.mkdir(parents=True, exist_ok=True)
                lock.acquire()
            except OSError as error:
                failure = error
            else:
                return place, lock
        assert failure is not None
        raise _cannot_write(self.places[-1], failure) from failure

    def _clear(self, place: Path, prefixes: tuple[str, ...]) -> None:
        for entry in place.iterdir():
            if entry.name.startswith(prefixes) and entry.name != self.name:
                shutil.rmtree(entry, ignore_errors=True)


def copy_of(model: ModelInfo, kind: str) -> Copy:
    """The converted form of a model; looks at the names and dates of its files only.

    It lies beside the model, or in Jupyter's data folder when the model came in a package or its
    folder cannot be written to.

    Args:
        model: The model.
        kind: How the numbers are held: ``int8`` or ``float32``.
    """
    facts = hashlib.sha256(f"{VERSION} {kind}".encode())
    for fact in _facts(model.path):
        facts.update(fact.encode())
    elsewhere = paths.converted_model(model.path)
    beside = () if model.bundled else (model.path / _BESIDE,)
    return Copy(kind, f"ctranslate2-{kind}-{facts.hexdigest()[:16]}", (*beside, elsewhere))


def lack_of_room(copy: Copy, size: int) -> str | None:
    """Why there is no room for a copy that is yet to be made; None when there is."""
    if copy.found() is not None:
        return None
    place = next(each for each in copy.places[0].parents if each.is_dir())
    return _shortage(place, size)


def _facts(folder: Path) -> Iterator[str]:
    files = [folder / "config.json", folder / "generation_config.json"]
    for file in (*files, *sorted(folder.glob("*.safetensors"))):
        if file.exists():
            state = file.stat()
            # The time of the last change of state cannot be set: a copy that came along with a
            # model that somebody made is never taken for one that was made here.
            times = f"{state.st_mtime_ns} {state.st_ctime_ns}"
            yield f"\n{file.name} {state.st_size} {times}"


def _shortage(place: Path, size: int) -> str | None:
    free, needed = shutil.disk_usage(place).free, int(size * _MARGIN)
    if free >= needed:
        return None
    return (
        f"the copy of the model for ctranslate2 takes {needed / 1e6:,.0f} MB, and "
        f"{free / 1e6:,.0f} MB are free at {place}"
    )


def _check_room(place: Path, size: int) -> None:
    if cause := _shortage(place, size):
        raise _error(place, cause)


def _flush(folder: Path) -> None:
    for file in folder.iterdir():
        with file.open("rb+") as handle:
            os.fsync(handle.fileno())


def _cannot_write(place: Path, error: OSError) -> EngineError:
    return _error(place, f"the copy of the model for ctranslate2 cannot be written: {error}")


def _error(place: Path, cause: str) -> EngineError:
    return EngineError(
        f"{cause[0].upper()}{cause[1:]}.",
        hint='Make room there, or let torch run the model: write dtype = "float32" in the profile.',
        data={"path": str(place), "cause": cause},
    )
