"""Which files of a pull are here already."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmspell_jupyter.errors import Interrupted
from llmspell_jupyter.models.pull.publish import Place
from llmspell_jupyter.models.transfer.addresses import AGAIN

if TYPE_CHECKING:
    from llmspell_jupyter.models.hub import RemoteFile

_READ = 1024**2


class Presence:
    """Says what of a plan is in a store. For one thread.

    The name of a blob and its size tell which bytes it should hold. Files that a lock file names
    are read as well, each state of one once: what is damaged is not here.

    Args:
        locked: SHA-256 of files by their paths.
        force: Nothing counts as being here.
        stop: Ends the reading of a file.
        look: Called with the path of a file now and then while it is read.
    """

    def __init__(
        self,
        locked: Mapping[str, str],
        *,
        force: bool,
        stop: threading.Event,
        look: Callable[[str], None],
    ):
        self._locked = locked
        self._force = force
        self._stop = stop
        self._look = look
        self._read: dict[tuple[int, int, int, int], str] = {}

    def complete(self, place: Place) -> bool:
        """Whether the snapshot shows all files.

        Raises:
            Interrupted: The pull was stopped.
        """
        return all(
            not self._force and place.has(file) and self._is_right(place.pointer(file), file)
            for file in place.plan.files
        )

    def has_blob(self, place: Place, file: RemoteFile) -> bool:
        """Whether a store keeps the bytes of a file; raises as ``complete``."""
        return not self._force and place.has_blob(file) and self._is_right(place.blob(file), file)

    def _is_right(self, path: Path, file: RemoteFile) -> bool:
        wanted = self._locked.get(file.path)
        try:
            return wanted is None or self._sha256(path, file) == wanted.lower()
        except OSError:
            return False  # It has gone, or is not for this user.

    def _sha256(self, path: Path, file: RemoteFile) -> str:
        with path.open("rb", buffering=0) as opened:
            state = os.fstat(opened.fileno())
            key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
            if key not in self._read:
                digest = hashlib.sha256()
                buffer = memoryview(bytearray(_READ))
                while count := opened.readinto(buffer):
                    digest.update(buffer[:count])
                    self._look(file.path)
                    if self._stop.is_set():
                        raise Interrupted("The pull was stopped.", hint=AGAIN)
                self._read[key] = digest.hexdigest()
        return self._read[key]
