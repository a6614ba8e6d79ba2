"""For which kernel the engine works: a page knows kernels, the engine knows processes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from jupyter_server.services.kernels.kernelmanager import MappingKernelManager

# What clients of this package call themselves.
_PROCESS = re.compile(r"process (\d{1,9})")


def owner(kernels: MappingKernelManager, client: str) -> str | None:
    """The kernel in which a client of the engine runs.

    Args:
        kernels: The server's kernels.
        client: What the engine calls it, such as ``process 4711``.

    Returns:
        The kernel's id; None when it is none of this server, or runs elsewhere.
    """
    named = _PROCESS.fullmatch(client)
    if named is None:
        return None
    begun = _processes(kernels)
    try:
        process: psutil.Process | None = psutil.Process(int(named[1]))
        # What the server starts may be a shell that sets up the kernel's environment.
        while process is not None and process.pid not in begun:
            process = process.parent()
    except psutil.Error:
        return None
    return begun[process.pid] if process else None


def _processes(kernels: MappingKernelManager) -> dict[int, str]:
    """Ids of the kernels by the processes that the server started for them."""
    found = {}
    for kernel in kernels.list_kernel_ids():
        pid = getattr(kernels.get_kernel(kernel).provisioner, "pid", None)
        if isinstance(pid, int):
            found[pid] = kernel
    return found
