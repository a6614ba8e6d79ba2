"""Libraries in the place of ``llama_cpp`` that harm the worker which imports them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_SOURCE = """
import os, signal
with open({starts!r}, "a") as file:
    file.write("x")
os.kill(os.getpid(), signal.{signal})
"""

_HOSTILE = """
import os, pathlib, signal
for pipe in pathlib.Path("/proc/self/fd").iterdir():
    number = int(pipe.name)
    try:
        target = os.readlink(pipe)
        flags = pathlib.Path(f"/proc/self/fdinfo/{{number}}").read_text().split("flags:")[1]
    except OSError:
        continue
    if number > 2 and target.startswith("pipe:") and int(flags.split()[0], 8) & os.O_WRONLY:
        os.write(number, pathlib.Path({message!r}).read_bytes())
os.kill(os.getpid(), signal.SIGKILL)
"""


class BrokenLibrary:
    """A ``llama_cpp`` that ends the process, as one that was built for another processor does.

    Args:
        folder: Where to put it.
        signal: Name of the signal that it ends with.
    """

    def __init__(self, folder: Path, signal: str = "SIGSEGV"):
        self._starts = folder / "starts"
        self._package = folder / "broken" / "llama_cpp"
        self._package.mkdir(parents=True)
        source = _SOURCE.format(starts=str(self._starts), signal=signal)
        (self._package / "__init__.py").write_text(source)

    @property
    def variables(self) -> dict[str, str]:
        """Environment of an engine whose workers meet it."""
        return _before_others(self._package.parent)

    @property
    def deaths(self) -> int:
        """Processes that have met it."""
        return len(self._starts.read_text()) if self._starts.exists() else 0

    def mend(self) -> None:
        """Take it away; workers find the real library from then on."""
        shutil.rmtree(self._package)


class HostileLibrary:
    """A ``llama_cpp`` that writes to the engine in its worker's name, then ends the process.

    Args:
        folder: Where to put it.
    """

    def __init__(self, folder: Path):
        self._message = folder / "message"
        self._package = folder / "hostile" / "llama_cpp"
        self._package.mkdir(parents=True)
        source = _HOSTILE.format(message=str(self._message))
        (self._package / "__init__.py").write_text(source)

    @property
    def variables(self) -> dict[str, str]:
        """Environment of an engine whose workers meet it."""
        return _before_others(self._package.parent)

    def says(self, message: bytes) -> None:
        """What the next worker that imports it writes."""
        self._message.write_bytes(message)


def _before_others(folder: Path) -> dict[str, str]:
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
