"""Whether a model fits on this machine, and how fast it will be: judged from figures alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from llmspell_jupyter.models.need import Need
from llmspell_jupyter.types import ContextFit, Fit, Light, Speed

#: Below this speed, in tokens a second, an answer is slower than one cares to wait for.
SLOW = 3.0

_SHORTEST = 2_048

# Where nothing says how much a model was trained for.
_LONGEST = 32_768

# llama.cpp holds contexts in whole blocks of so many tokens.
_STEP = 256

_GB, _MB = 1_000_000_000, 1_000_000


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that is judged.

    Attributes:
        model: Its id.
        quantization: Such as ``Q4_K_M``; None when unknown.
        size_bytes: Size of its weights.
        trained: Tokens that it was trained for; 0 when unknown.
        need: Its need of memory with so many tokens of context; it never shrinks as they grow.
        source: Where these figures come from.
        disk_need: Bytes that are still to be fetched.
    """

    model: str
    quantization: str | None
    size_bytes: int
    trained: int
    need: Callable[[int], Need]
    source: Literal["files", "catalog", "remote header", "size"]
    disk_need: int = 0


@dataclass(frozen=True, slots=True)
class Space:
    """What there is on this machine, in bytes.

    Attributes:
        free: Memory that is free while idle models stay.
        where: What bounds it, to follow "are free", such as ``on this machine``.
        idle: Memory that idle models give back.
        most: Memory that a single model may have; None is no bound.
        most_by: What says so.
        disk: Free where models are kept; None when unknown.
        unjudged: Why a need is not held against this memory; empty when it is.
    """

    free: int
    where: str
    idle: int = 0
    most: int | None = None
    most_by: str = ""
    disk: int | None = None
    unjudged: str = ""

    @property
    def reachable(self) -> int:
        """Memory that the model could have, idle models having left."""
        there = self.free + self.idle
        return there if self.most is None else min(there, self.most)


def judge(
    subject: Subject, space: Space, context: int, device: str, speed: Speed | None, note: str
) -> Fit:
    """The verdict.

    Args:
        subject: The model.
        space: What there is.
        context: Tokens of context that are wanted; 0 is what it was trained for.
        device: What would compute.
        speed: What it would reach; None when that is not known.
        note: Where the speed comes from, or why there is none.
    """
    wanted = min(context or subject.trained or _LONGEST, subject.trained or context or _LONGEST)
    contexts = tuple(
        ContextFit(tokens, need, need <= space.reachable)
        for tokens in _lengths(subject.trained, wanted)
        for need in (subject.need(tokens).total,)
    )
    need = next(each.need for each in contexts if each.context == wanted)
    largest = _largest(subject, space.reachable, subject.trained or max(wanted, _LONGEST))
    light, reasons = _verdict(subject, space, wanted, need, largest, speed)
    return Fit(
        model=subject.model,
        light=light,
        device=device,
        quantization=subject.quantization,
        size_bytes=subject.size_bytes,
        context=wanted,
        need=need,
        contexts=contexts,
        largest_context=largest,
        free=space.free,
        free_where=space.where,
        idle=space.idle,
        disk_need=subject.disk_need,
        disk_free=space.disk,
        speed=speed,
        speed_note=note,
        reasons=reasons,
        source=subject.source,
    )


def _verdict(
    subject: Subject, space: Space, wanted: int, need: int, largest: int | None, speed: Speed | None
) -> tuple[Light, tuple[str, ...]]:
    reasons = []
    if space.disk is not None and subject.disk_need > space.disk:
        reasons.append(
            f"{up(subject.disk_need)} are to be fetched, and the disk has {down(space.disk)} left."
        )
    asks = f"With {wanted:,} tokens of context it needs {up(need)} of memory"
    if space.most is not None and space.most < space.free + space.idle:
        there = f"a model can have {down(space.reachable)} at most ({space.most_by})"
    else:
        there = f"{down(space.free)} are free {space.where}"
        there += f", and {down(space.idle)} more once idle models leave" if space.idle else ""
    light: Light = "red" if reasons else "green"
    if need > space.reachable:
        reasons.append(f"{asks}; {there}.")
        if largest is None:
            light = "red"
        else:
            reasons.append(f"It fits with {largest:,} tokens of context.")
            light = "red" if light == "red" else "amber"
    else:
        reasons.append(f"{asks}; {there}.")
        if need > space.free:
            reasons.append("It fits once idle models leave, which the engine sees to.")
            light = "red" if light == "red" else "amber"
    if speed is not None and speed.expected < SLOW:
        reasons.append(f"It would write {speed.expected:.2g} tokens a second.")
        light = "red" if light == "red" else "amber"
    if space.unjudged:
        reasons.append(f"Judged as for the CPU: {space.unjudged}.")
    return light, tuple(reasons)


def _lengths(trained: int, wanted: int) -> list[int]:
    """Lengths of context that are worth a line, in their order."""
    most = trained or max(wanted, _LONGEST)
    lengths = {wanted, min(_SHORTEST, most), most}
    tokens = _SHORTEST
    while tokens <= most:
        lengths.add(tokens)
        tokens *= 2
    return sorted(lengths)


def _largest(subject: Subject, room: int, most: int) -> int | None:
    """Most tokens that fit, in whole steps or all of them; None when the fewest do not fit."""
    if subject.need(most).total <= room:
        return most
    low, high = 0, -(-most // _STEP)  # In steps; the first fits, as far as is known.
    while high - low > 1:
        middle = (low + high) // 2
        if subject.need(middle * _STEP).total <= room:
            low = middle
        else:
            high = middle
    return low * _STEP or None


# Needs are rounded up and what is free down, so that they never look alike.


def up(size: int) -> str:
    """Bytes that are needed, for people."""
    return _shown(size, math.ceil)


def down(size: int) -> str:
    """Bytes that are free, for people."""
    return _shown(size, math.floor)


def _shown(size: int, rounded: Callable[[float], int]) -> str:
    if size >= _GB:
        return f"{rounded(size / _GB * 10) / 10:,.1f} GB"
    return f"{rounded(size / _MB):,} MB"
