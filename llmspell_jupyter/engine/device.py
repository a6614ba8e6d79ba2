"""What computes: decided from what is asked for and what is there, and never without a word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmspell_jupyter.errors import DeviceUnavailable
from llmspell_jupyter.types import DeviceName

Computing = Literal["cpu", "cuda", "metal"]

_MACOS = "darwin"
_TITLES = {"cpu": "the CPU", "cuda": "an NVIDIA GPU (CUDA)", "metal": "Apple's GPU (Metal)"}


@dataclass(frozen=True, slots=True)
class Probe:
    """What a library can use on this machine.

    Attributes:
        library: Its name, for messages.
        cuda: It computes on an NVIDIA GPU that is there.
        metal: It computes on Apple's GPU.
        absent: For ``cuda`` and ``metal``, why it does not, such as ``this build has no CUDA``.
        install: Shell commands that install it with ``cuda`` or ``metal``.
    """

    library: str
    cuda: bool = False
    metal: bool = False
    absent: Mapping[str, str] = field(default_factory=dict)
    install: Mapping[str, str] = field(default_factory=dict)

    def has(self, device: Computing) -> bool:
        """Whether it can compute on this device."""
        return {"cpu": True, "cuda": self.cuda, "metal": self.metal}[device]

    def why_not(self, device: Computing) -> str:
        """Why it cannot."""
        return self.absent.get(device) or f"{self.library} finds none that it can use"


@dataclass(frozen=True, slots=True)
class Device:
    """What computes.

    Attributes:
        name: ``cpu``, ``cuda`` or ``metal``.
        reason: Why this one, for metadata.
        warning: What the user has to be told, because it is not what was asked for; may be empty.
    """

    name: Computing
    reason: str
    warning: str = ""

    def facts(self) -> dict[str, Any]:
        """The device as part of ``Backend.describe``."""
        facts = {"device": self.name, "device_reason": self.reason}
        return facts | ({"device_warning": self.warning} if self.warning else {})


def choose(wanted: DeviceName, platform: str, probe: Probe) -> Device:
    """The device for a model.

    ``auto`` takes the platform's GPU where there is one: Metal on macOS, CUDA elsewhere. A GPU of
    the other platform gives a warning and the CPU; one of this platform that is not there is an
    error.

    Args:
        wanted: What the profile, the variable or the request says.
        platform: As ``sys.platform``.
        probe: What the library can use.

    Raises:
        DeviceUnavailable: The device was asked for by name and is not there.
    """
    own: Computing = "metal" if platform == _MACOS else "cuda"
    if wanted == "auto":
        return _automatic(own, probe)
    if wanted == "cpu":
        return Device("cpu", "asked for")
    if wanted != own:
        return _of_another_platform(wanted, own, probe)
    if probe.has(wanted):
        return Device(wanted, "asked for")
    raise DeviceUnavailable(
        f"{wanted} was asked for, but {_TITLES[wanted]} cannot be used: {probe.why_not(wanted)}.",
        hint=_way_out(wanted, probe),
        data={"device": wanted, "library": probe.library, "cause": probe.why_not(wanted)},
    )


def _automatic(own: Computing, probe: Probe) -> Device:
    if probe.has(own):
        return Device(own, f"auto: {probe.library} can use {_TITLES[own]}")
    return Device("cpu", f"auto: no {own}, {probe.why_not(own)}")


def _of_another_platform(wanted: Computing, own: Computing, probe: Probe) -> Device:
    where = "macOS has no CUDA" if wanted == "cuda" else "Metal is there on macOS only"
    warning = f"{wanted} was asked for, and the CPU computes: {where}."
    # A GPU that this machine has is worth a word to someone who asked for one.
    if probe.has(own):
        warning += f' Write device = "{own}" for {_TITLES[own]}.'
    return Device("cpu", f"{wanted} was asked for; {where}", warning)


def _way_out(wanted: Computing, probe: Probe) -> str:
    line = probe.install.get(wanted)
    install = f"Install it; type in a terminal: {line}\nOr" if line else "To go on without,"
    return f'{install} write device = "cpu" in the profile, or Agent.builder():device("cpu").'
