"""Room on the disk: looked at before a byte is fetched, and named when it runs out."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from llmspell_jupyter.errors import NoSpace

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Journals, links and what a file system needs for itself.
_MARGIN = 1024**2


def check(folder: Path, need: int, largest: int) -> None:
    """Whether files still fit.

    Args:
        folder: Where they go, or would go.
        need: Bytes that have yet to come.
        largest: Size of the largest file.

    Raises:
        NoSpace: They do not.
    """
    if not need:
        return
    free = free_bytes(folder)
    if need + need // 100 + _MARGIN > free:
        raise no_space(folder, need + need // 100 + _MARGIN, free)
    most = _largest_file()
    if most is not None and largest > most:
        raise no_space(folder, largest, most, "This process may not write so large a file")


def free_bytes(folder: Path) -> int:
    """What this user may still write there."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def is_full(error: OSError) -> bool:
    """Whether it says that a disk, a quota or a limit is reached."""
    return error.errno in _FULL


def of_error(error: OSError, path: Path, need: int = 0) -> NoSpace | None:
    """The error of ours for one of the system's; None when it is about something else."""
    if not is_full(error):
        return None
    what = {
        errno.EDQUOT: "The disk quota of this user is used up",
        errno.EFBIG: "This process may not write so large a file",
    }
    most = _largest_file() if error.errno == errno.EFBIG else None
    free = free_bytes(path.parent) if most is None else most
    return no_space(path.parent, need, free, what.get(error.errno or 0, "The disk is full"))


def no_space(folder: Path, need: int, free: int, what: str = "The disk is too small") -> NoSpace:
    """The error that says how much is needed, and how much there is."""
    return NoSpace(
        f"{what}: the model needs {_shown(need)}, {_shown(free)} are free in {folder}.",
        hint=(
            "%model_gc and %model_remove make room; HF_HUB_CACHE names a folder on another disk."
        ),
        data={"need": need, "free": free, "path": str(folder)},
    )


def _largest_file() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if soft == resource.RLIM_INFINITY else soft


def _shown(count: int) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.3g} {unit}" if unit != "bytes" else f"{count} {unit}"
        count = count / 1000  # type: ignore[assignment]
    return f"{count:,.2f} GB"
