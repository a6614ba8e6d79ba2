"""Whether a model fits on this machine, and how fast it would answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: ``green`` fits as it is; ``amber`` fits with less context, once idle models leave, or is slow;
#: ``red`` does not fit.
Light = Literal["green", "amber", "red"]


@dataclass(frozen=True, slots=True)
class ContextFit:
    """Whether a model fits into memory with so much context.

    Attributes:
        context: Tokens.
        need: Bytes that it takes then.
        fits: Whether there is room, once idle models have left.
    """

    context: int
    need: int
    fits: bool


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second that are to be expected of an answer.

    Attributes:
        low: What it will hardly fall below.
        expected: With a short conversation behind it.
        high: What it will hardly exceed.
        full: With all of the wanted context behind it; None when unknown.
        prompt: Tokens a second with which a prompt is read; None when unknown.
        measured: Whether answers of this very model were measured, and not only the machine.
    """

    low: float
    expected: float
    high: float
    full: float | None = None
    prompt: float | None = None
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits on this machine and how fast it will be, before it is fetched.

    Attributes:
        model: Its id.
        light: All of it in one word.
        device: What would compute.
        quantization: Such as ``Q4_K_M``; None when unknown.
        size_bytes: Size of its weights.
        context: Tokens of context that are wanted.
        need: Bytes of memory that it takes with them.
        contexts: The same for other lengths, up to that for which it was trained.
        largest_context: Most tokens with which it fits; None when it fits with none.
        free: Bytes of memory that are free while idle models stay.
        free_where: What bounds them, to follow "are free".
        idle: Bytes more once all idle models have left.
        disk_need: Bytes that are still to be fetched; 0 for a model of this machine.
        disk_free: Bytes free where they would lie; None when unknown.
        speed: Tokens a second; None when nothing was measured.
        speed_note: Where the speed comes from, or why there is none.
        reasons: Lines that say why the light is what it is.
        source: What the figures were read from.
    """

    model: str
    light: Light
    device: str
    quantization: str | None
    size_bytes: int
    context: int
    need: int
    contexts: tuple[ContextFit, ...]
    largest_context: int | None
    free: int
    free_where: str
    idle: int
    disk_need: int
    disk_free: int | None
    speed: Speed | None
    speed_note: str
    reasons: tuple[str, ...]
    source: Literal["files", "catalog", "remote header", "size"]
