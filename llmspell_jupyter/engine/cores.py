"""How many processor cores this process may really use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from llmspell_jupyter.engine import cgroups


def usable_cores() -> int:
    """Cores that the scheduler and the container leave to this process; at least 1.

    The smaller of the CPU affinity and the CPU quota (cgroup v1 or v2) of this process's group
    and of every group around it.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no such call.
        allowed = os.cpu_count() or 1
    return whole_cores(allowed, read_quotas())


def whole_cores(allowed: int, quotas: Iterable[float]) -> int:
    """The number of threads that never wait for each other's time slice.

    Args:
        allowed: Cores that the scheduler may use for this process.
        quotas: CPU time per wall time of each enclosing group, 1.5 being one and a half cores.

    A quota is rounded down: with more threads than quota the group is throttled, and llama.cpp's
    threads spin while they wait for a throttled one.
    """
    return max(1, int(min((float(allowed), *quotas))))


def read_quotas(root: Path = Path("/")) -> list[float]:
    """CPU quotas, in cores, of this process's control groups; empty when nothing limits it.

    Args:
        root: Folder below which ``proc`` and ``sys`` lie.
    """
    quotas = (_quota(folder) for folder in cgroups.folders("cpu", root))
    return [quota for quota in quotas if quota is not None]


def parse_quota(quota: str, period: str) -> float | None:
    """Cores from a quota and its period, both in microseconds of text; None for no limit."""
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None  # "max"
    return cores if cores > 0 else None  # -1 means no limit in v1


def _quota(folder: Path) -> float | None:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return parse_quota(quota, period)
    with contextlib.suppress(OSError):
        quota = (folder / "cpu.cfs_quota_us").read_text()
        return parse_quota(quota, (folder / "cpu.cfs_period_us").read_text())
    return None
