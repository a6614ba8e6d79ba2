"""Whether torch would compute on a GPU: told from files, because importing it takes seconds."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

_CUDA = re.compile(r"^cuda\b.*=\s*['\"]", re.MULTILINE)

# What NVIDIA's driver puts there: on Linux, below WSL, and on Windows.
_DRIVERS = ("dev/nvidiactl", "usr/lib/wsl/lib/libcuda.so.1", "Windows/System32/nvcuda.dll")


def torch_gpu(platform: str, machine: str, torch: Path | None, root: Path) -> str | None:
    """The GPU on which torch would compute, or None.

    It says what is installed, not what works: a GPU that was hidden from torch counts as one.

    Args:
        platform: As ``sys.platform``.
        machine: As ``platform.machine()``.
        torch: Folder of the installed package; None when it is not installed.
        root: Folder below which the system's files lie.
    """
    if torch is None:
        return None
    if platform == "darwin":
        return "Apple's GPU" if machine == "arm64" else None
    try:
        has_cuda = _CUDA.search((torch / "version.py").read_text()) is not None
    except (OSError, UnicodeDecodeError):
        return None
    driver = any((root / path).exists() for path in _DRIVERS)
    return "an NVIDIA GPU" if has_cuda and driver else None


def torch_folder() -> Path | None:
    """Folder of the installed torch; None when there is none."""
    found = importlib.util.find_spec("torch")
    return Path(found.origin).parent if found is not None and found.origin else None
