"""Which process each kernel of a server is: a page knows kernels, the engine knows processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.services.kernels.kernelmanager import MappingKernelManager


def processes(kernels: MappingKernelManager) -> dict[str, int]:
    """Process ids by the ids of the kernels; those that run elsewhere are left out."""
    found = {}
    for kernel in kernels.list_kernel_ids():
        pid = getattr(kernels.get_kernel(kernel).provisioner, "pid", None)
        if isinstance(pid, int):
            found[kernel] = pid
    return found
