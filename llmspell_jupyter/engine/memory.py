"""How much memory there is for models."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from llmspell_jupyter.engine import cgroups
from llmspell_jupyter.types import LoadOptions

# A worker reserves addresses that it never fills: 290 MB with llama.cpp, 870 MB with torch (Linux,
# two cores), of which a limit on addresses grants the lesser. One that is a little too narrow for
# the rest ends the worker alone.
_ADDRESSES = 300_000_000

# What NVIDIA's driver puts there: on Linux, below WSL, and on Windows.
_NVIDIA = ("dev/nvidiactl", "usr/lib/wsl/lib/libcuda.so.1", "Windows/System32/nvcuda.dll")


@dataclass(frozen=True, slots=True)
class Holding:
    """A model that is loaded or being loaded, in bytes.

    Attributes:
        need: What it may take, as estimated.
        private: What its process holds that is not in files; the system does not count it as free.
    """

    need: int
    private: int

    @property
    def pending(self) -> int:
        """What it may still take of the memory that the system counts as free.

        The pages of a mapped file are part of it: the system could drop them, and would then read
        them again for every token.
        """
        return max(0, self.need - self.private)


@dataclass(frozen=True, slots=True)
class Room:
    """Memory for models, in bytes.

    Attributes:
        free: What a further model may take; 0 at least.
        where: What bounds ``free``, to follow "are free", such as ``on this machine``.
        most: What a single model may take, were there no other; None when nothing says.
        most_by: What says so.
    """

    free: int
    where: str
    most: int | None = None
    most_by: str = ""


def look(
    holdings: Iterable[Holding] = (), limit: int = 0, root: Path = Path("/"), own: int = 0
) -> Room:
    """What is free now.

    Args:
        holdings: The models that this engine has.
        limit: Most bytes for all of them together, as the user or the administrator says; 0 is
            no limit.
        root: Folder below which ``proc`` and ``sys`` lie.
        own: Bytes that a process holds which is none of the holdings and counts as gone.
    """
    available = psutil.virtual_memory().available + own
    inside = container(root)
    inside = None if inside is None else inside + own
    return room(available, inside, limit, tuple(holdings), address_space())


def room(
    available: int,
    in_container: int | None,
    limit: int,
    holdings: Sequence[Holding],
    addresses: int | None,
) -> Room:
    """What is free.

    Args:
        available: What the machine could hand out.
        in_container: What this process's control groups leave; None is no bound.
        limit: Most bytes for all models together; 0 is no bound.
        holdings: The models that there are.
        addresses: Most bytes of addresses of one process; None is no bound.
    """
    pending = sum(each.pending for each in holdings)
    bounds = [(available - pending, "on this machine")]
    if in_container is not None:
        bounds.append((in_container - pending, "in this container"))
    if limit:
        bounds.append((limit - sum(each.need for each in holdings), "below memory_limit_bytes"))
    caps = [(limit, "memory_limit_bytes")] if limit else []
    if addresses is not None:
        caps.append((max(0, addresses - _ADDRESSES), "ulimit -v"))
    free, where = min(bounds)
    most, most_by = min(caps, default=(None, ""))
    return Room(max(0, free), where, most, most_by)


def container(root: Path = Path("/")) -> int | None:
    """Bytes that the control groups of this process leave to it; None when nothing limits it.

    Args:
        root: Folder below which ``proc`` and ``sys`` lie.
    """
    left = (_left(folder) for folder in cgroups.folders("memory", root))
    return min((each for each in left if each is not None), default=None)


def address_space() -> int | None:
    """Most bytes of addresses that a process started by this one can have; None is no limit."""
    try:
        import resource
    except ImportError:  # Windows has no such limits.
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft


def private(pid: int) -> int:
    """Bytes of memory that a process holds and that are not in files; 0 when it has gone."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        info = process.memory_info()
        if hasattr(info, "shared"):
            return max(0, int(info.rss) - int(info.shared))
        return int(process.memory_full_info().uss)
    return 0


def resident(pid: int) -> int:
    """Bytes of memory that a process occupies, pages of files included; 0 when it has gone."""
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


def unjudged(options: LoadOptions, platform: str, root: Path = Path("/")) -> str:
    """Why a model's need is not held against the machine's memory; empty when it is.

    Apple's GPUs share the machine's memory.

    Args:
        options: How it would be loaded.
        platform: As ``sys.platform``.
        root: Folder below which the system's files lie.
    """
    if platform == "darwin" or options.device in ("cpu", "metal"):
        return ""
    if options.device == "auto" and not any((root / path).exists() for path in _NVIDIA):
        return ""
    return "its weights may go to a GPU, whose memory is not looked at"


def _left(folder: Path) -> int | None:
    """What a group leaves; pages that the system can drop count as free."""
    limits = [
        limit
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes")
        if (limit := _number(folder / name)) is not None and limit < 2**60
    ]
    used = _number(folder / "memory.current")
    used = _number(folder / "memory.usage_in_bytes") if used is None else used
    if not limits or used is None:
        return None
    return max(0, min(limits) - max(0, used - _in_files(folder)))


def _in_files(folder: Path) -> int:
    found: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            name, value = line.split()
            found[name] = int(value)
    # The group around others has theirs as well in v1's totals.
    sizes = (
        found.get(f"total_{name}", found.get(name, 0)) for name in ("active_file", "inactive_file")
    )
    return sum(sizes)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # "max"
