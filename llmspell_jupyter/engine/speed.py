"""How fast models are on this machine: measured once with small ones, corrected by each answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmspell_jupyter.engine import costs, speed_file
from llmspell_jupyter.engine.costs import BaseCost, Estimate
from llmspell_jupyter.engine.probe import Probe
from llmspell_jupyter.engine.speed_file import LEAST, LEAST_SPREAD, MOST, Measured, Place
from llmspell_jupyter.errors import LLMSpellError
from llmspell_jupyter.models import estimate
from llmspell_jupyter.models.gguf_work import Work
from llmspell_jupyter.types import LoadOptions, ModelInfo, Speed

_log = logging.getLogger(__name__)

#: Tokens of a short conversation, for which the expected speed holds.
USUAL_CONTEXT = 256

# Of an answer that is shorter than this, the clock says little.
_FEWEST_TOKENS = 20

# How much the newest answer counts.
_NEWEST = 0.3

# What a model was not measured for: shapes of matrices, and what else the machine does.
_UNKNOWN = 0.15

# More kinds than these are not measured for one judgement; the rest counts as the main one does.
_MOST_KINDS = 2

# What one does not know more when other programs computed during the measurement.
_DISTURBED = 0.35

# A machine that was busy is measured again after so many seconds; one that could not be measured
# at all after so many.
_BUSY_SECONDS = 300.0
_FAILED_SECONDS = 30.0

# Nobody waits longer for a measurement; it goes on.
_LONGEST = 6.0

# A machine sees some hundreds of models; more entries than these are forgotten, the oldest first.
_MOST_MODELS = 500


@dataclass(frozen=True, slots=True)
class Judged:
    """A model as its speed is judged.

    Attributes:
        format: ``GGUF`` or ``safetensors``.
        architecture: As in ``ModelInfo``; None when unknown.
        size_bytes: Size of its weights; models of one architecture and size are as fast.
        work: What is computed for each token; None when unknown.
    """

    format: str
    architecture: str | None
    size_bytes: int
    work: Work | None

    @property
    def key(self) -> str:
        """Under which its answers are kept, wherever its files lie."""
        return f"{self.architecture}/{self.format}/{self.size_bytes}"


class Speeds:
    """What is known of this machine's speed. Use from one event loop.

    Args:
        path: File in which it is kept; made when it is absent, a damaged one is replaced.
        busy: Whether models work now, so that nothing can be measured.
        longest: Seconds that nobody waits longer than for a measurement.
    """

    def __init__(
        self, path: Path, busy: Callable[[], bool] = lambda: False, longest: float = _LONGEST
    ):
        self._path = path
        self._busy = busy
        self._places: dict[str, Place] | None = None
        self._longest = longest
        self._fleeting: dict[str, tuple[float, Place]] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._probing = asyncio.Lock()
        self._filing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._probes: set[asyncio.Task[tuple[Place, str]]] = set()

    async def expect(
        self, model: Judged, options: LoadOptions, context: int
    ) -> tuple[Speed | None, str, str | None]:
        """What is to be expected of a model; the first time of its kind this takes seconds.

        Args:
            model: The model.
            options: How it would be loaded.
            context: Tokens that are wanted.

        Returns:
            Its speed, None when nothing tells; where that comes from, or why there is none; and
            the device, None when no worker has said it.
        """
        place = await self._place(options)
        work, note = model.work, ""
        if known := place.models.get(model.key):
            return _of_answers(known, place.base, work, context), _runs(known), place.device or None
        if model.format != "GGUF":
            note = "only GGUF models are measured before they run"
        elif work is None:
            note = "how its weights are held is not known before it is fetched"
        elif self._lacks(options, place, work):
            place, note = await self._soon(options, place, work)
        if place.device not in ("", "cpu"):
            note = f"the speed of {place.device} is not measured before a model runs"
        device = place.device or None
        if note or work is None:
            return None, f"Not measured: {note}.", device
        found = "From a short measurement of this machine"
        found += ", which other programs disturbed." if place.disturbed else "."
        return _of_machine(place, work, context), found, device

    def note(self, facts: Mapping[str, Any], model: ModelInfo, options: LoadOptions) -> None:
        """Learn from an answer that has ended; returns at once.

        Args:
            facts: Its metadata.
            model: Who gave it.
            options: How that was loaded.
        """
        speed, tokens = facts.get("tokens_per_second"), facts.get("completion_tokens") or 0
        if not speed or tokens < _FEWEST_TOKENS or facts.get("batched_steps"):
            return
        context = (facts.get("prompt_tokens") or 0) + tokens / 2
        task = asyncio.create_task(self._learn(1 / speed, context, model, options))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give measurements up, and wait until everything is written."""
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _learn(
        self, seconds: float, context: float, model: ModelInfo, options: LoadOptions
    ) -> None:
        try:
            judged = await asyncio.to_thread(judged_file, model)
            place = await self._place(options)
            self._correct(place, judged.work, seconds, context)
            known = place.models.pop(judged.key, None)
            if known is None:
                known = Measured(seconds, context)
            else:
                base = place.base
                # Both for the same length of text, as far as it is known what that costs.
                behind = base.attention * judged.work.attention if base and judged.work else 0.0
                moved = max(0.2 * seconds, seconds + behind * (known.context - context))
                off = abs(moved - known.seconds) / known.seconds
                known.spread = max(LEAST_SPREAD, known.spread + _NEWEST * (off - known.spread))
                known.seconds += _NEWEST * (moved - known.seconds)
                known.runs += 1
            place.models[judged.key] = known
            for old in [*place.models][:-_MOST_MODELS]:
                del place.models[old]
            await self._save()
        except (LLMSpellError, OSError) as error:
            _log.info("The speed of %s is not kept: %s", model.id, error)

    def _correct(self, place: Place, work: Work | None, seconds: float, context: float) -> None:
        """Hold an answer against what was foretold of its kind of weights."""
        if work is None or place.device != "cpu":
            return
        foretold = _foretold(place, work, int(context))
        if foretold is None:
            return
        ratio = min(MOST, max(LEAST, seconds / foretold.middle))
        before = place.corrections.get(work.main, 1.0)
        place.corrections[work.main] = before + _NEWEST * (ratio - before)

    def _lacks(self, options: LoadOptions, place: Place, work: Work) -> bool:
        if place.device not in ("", "cpu"):
            return False
        return place.base is None or bool(costs.missing(work, place.kinds))

    async def _soon(self, options: LoadOptions, place: Place, work: Work) -> tuple[Place, str]:
        """As ``_probe``, which goes on when it takes too long to be waited for."""
        task = asyncio.create_task(self._probe(options, place, work))
        self._probes.add(task)
        task.add_done_callback(self._probes.discard)
        done, _ = await asyncio.wait({task}, timeout=self._longest)
        if not done:
            return place, "this machine is being measured yet; ask again in a few seconds"
        return task.result()

    async def _probe(self, options: LoadOptions, place: Place, work: Work) -> tuple[Place, str]:
        """Measure what is missing of this model's kinds; what is known then, or why it is not."""
        async with self._probing:
            key = speed_file.key(options)
            if (kept := self._fleeting.get(key)) and time.monotonic() - kept[0] < _BUSY_SECONDS:
                place = kept[1]
            missing = costs.missing(work, place.kinds)[:_MOST_KINDS]
            if place.base is not None and not missing:
                return place, ""
            if (failed := self._failed.get(key)) and time.monotonic() - failed[0] < _FAILED_SECONDS:
                return place, failed[1]
            if self._busy():
                return place, "models work now, and would disturb it"
            probe = Probe(options)
            base = work.main if place.base is None else ""
            try:
                kinds, rest = await probe.measure(missing, base, place.kinds)
            except (LLMSpellError, OSError) as error:
                _log.info("This machine cannot be measured: %s", error)
                said = error.message if isinstance(error, LLMSpellError) else str(error)
                self._failed[key] = (time.monotonic(), said.rstrip("."))
                return place, said.rstrip(".")
            found = replace(
                place,
                base=rest or place.base,
                kinds=place.kinds | kinds,
                device=str(probe.facts.get("device", "cpu")),
                disturbed=place.disturbed or probe.disturbed,
            )
            if found.disturbed:
                # Better than nothing, and not to be believed for long.
                self._fleeting[key] = (time.monotonic(), found)
                return found, ""
            place.base, place.kinds, place.device = found.base, found.kinds, found.device
            with suppress(OSError):
                await self._save()
            return place, ""

    async def _place(self, options: LoadOptions) -> Place:
        return (await self._all()).setdefault(speed_file.key(options), Place())

    async def _all(self) -> dict[str, Place]:
        async with self._filing:
            if self._places is None:
                self._places = await asyncio.to_thread(speed_file.read, self._path)
            return self._places

    async def _save(self) -> None:
        places = await self._all()
        async with self._filing:
            await asyncio.to_thread(speed_file.write, self._path, places)


def judged_file(model: ModelInfo) -> Judged:
    """A model of this machine as its speed is judged.

    Raises:
        BadModelFile: Its file is damaged.
        OSError: It has gone.
    """
    work = estimate.work(model) if model.format == "GGUF" else None
    return Judged(model.format, model.architecture, model.size_bytes, work)


def _foretold(place: Place, work: Work, context: int) -> Estimate | None:
    if place.base is None:
        return None
    return costs.estimate(work, context, place.base, place.kinds)


def _of_machine(place: Place, work: Work, context: int) -> Speed | None:
    usual = min(USUAL_CONTEXT, context)
    found, full = (_foretold(place, work, each) for each in (usual, context))
    if found is None or full is None:
        return None
    factor = place.corrections.get(work.main, 1.0)
    unknown = _UNKNOWN + (_DISTURBED if place.disturbed else 0.0)
    return Speed(
        low=_per_second(found.high * factor * (1 + unknown)),
        expected=_per_second(found.middle * factor),
        high=_per_second(found.low * factor * (1 - unknown)),
        full=_per_second(full.middle * factor),
        prompt=_per_second(found.prompt),
    )


def _of_answers(known: Measured, base: BaseCost | None, work: Work | None, context: int) -> Speed:
    behind = base.attention * work.attention if base is not None and work is not None else None
    usual = known.seconds
    if behind is not None:
        usual = _moved(known, behind, min(USUAL_CONTEXT, context))
    spread = max(LEAST_SPREAD, known.spread)
    return Speed(
        low=_per_second(usual * (1 + spread)),
        expected=_per_second(usual),
        high=_per_second(usual / (1 + spread)),
        full=None if behind is None else _per_second(_moved(known, behind, context)),
        measured=True,
    )


def _moved(known: Measured, behind: float, context: float) -> float:
    """Seconds for a token with another length of text behind it."""
    return max(0.2 * known.seconds, known.seconds + behind * (context - known.context))


def _per_second(seconds: float) -> float:
    return float(f"{1 / max(seconds, 1e-6):.3g}")


def _runs(known: Measured) -> str:
    answers = "an answer" if known.runs == 1 else f"{known.runs:,} answers"
    return f"From {answers} of this model on this machine."
