"""torch itself: imported at first use, with the device and the threads that were asked for."""

from __future__ import annotations

import functools
import shlex
import sys
from typing import Any

from llmspell_jupyter.engine.device import Device, Probe, choose
from llmspell_jupyter.errors import BackendMissing
from llmspell_jupyter.types import DeviceName


def install_line() -> str:
    """Shell command that installs torch and what goes with it for the running interpreter."""
    python = shlex.quote(sys.executable or "python")
    return f'{python} -m pip install "llmspell-jupyter[torch]"'


@functools.cache
def torch() -> Any:
    """The library.

    Raises:
        BackendMissing: It is not installed, or its native part cannot be loaded.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        raise BackendMissing(
            f"torch, which runs safetensors models, cannot be imported: {error}",
            hint=f"Type in a terminal: {install_line()}",
            data={"install": install_line()},
        ) from error
    return torch


def pick(wanted: DeviceName) -> Device:
    """The device for a model that torch runs.

    Raises:
        DeviceUnavailable: As ``device.choose``.
    """
    return choose(wanted, sys.platform, probe())


def probe() -> Probe:
    """What this build of torch can use on this machine."""
    lib = torch()
    cuda = lib.cuda.is_available()
    absent = {} if cuda else {"cuda": _why_no_cuda(lib)}
    install = {"cuda": f"{shlex.quote(sys.executable or 'python')} -m pip install --upgrade torch"}
    metal = lib.backends.mps.is_available()
    return Probe("torch", cuda=cuda, metal=metal, absent=absent, install=install)


def native(device: Device) -> Any:
    """The device by torch's name of a device."""
    return torch().device({"metal": "mps"}.get(device.name, device.name))


def _why_no_cuda(lib: Any) -> str:
    if lib.version.cuda is None:
        return f"this build of torch ({lib.__version__}) has no CUDA"
    return f"torch ({lib.__version__}) finds no NVIDIA GPU that it can use"
