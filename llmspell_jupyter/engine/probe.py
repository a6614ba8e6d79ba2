"""Measures what this machine can do: a real worker answers with small models made for it."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from llmspell_jupyter.engine.backend import Finished
from llmspell_jupyter.engine.costs import BaseCost, KindCost
from llmspell_jupyter.engine.worker_process import WorkerProcess
from llmspell_jupyter.errors import EngineError
from llmspell_jupyter.models import probe_gguf
from llmspell_jupyter.models.gguf_kinds import KINDS
from llmspell_jupyter.models.probe_gguf import Shape
from llmspell_jupyter.types import GenerationRequest, LoadOptions, ModelInfo, Sampling

BACKEND = "llama_cpp"

# Weights of a probe, in bytes. They have to come from memory as a large model's do: twice the
# last cache, within these bounds.
_LEAST, _MOST = 64_000_000, 192_000_000

# A worker with such a model, and room to spare.
_PROCESS = 300_000_000

_CONTEXT = 1_024
_TOKENS = 12
_ANSWERS = 5
_PROMPT = 32
_LONG_PROMPT = 300

# Answers to one prompt stop coming after so many seconds.
_SECONDS = 0.3

# Cores beyond those that there are, at which others are in the way.
_DISTURBED = 0.3

# The first fields of the system's times; those after them count twice what is in these.
_TIMES = 8

# After so many seconds it is given up: the machine has no time to be measured.
_PATIENCE = 15.0

# Hardly a weight: what takes time is all the rest.
_SMALL = Shape(
    layers=32,
    width=256,
    inner=256,
    heads=4,
    key_heads=1,
    vocabulary=32_768,
    context=_CONTEXT,
)

# Numbers that a token is multiplied with for each token before it.
_ATTENTION = _SMALL.layers * 2 * _SMALL.width

# Both parts of the rest are small, and are not measured apart: a layer took what it takes to
# choose among so many tokens (llama.cpp, one core of an AMD EPYC).
_LAYER = 1_500


@dataclass(frozen=True, slots=True)
class _Answer:
    """Seconds for each token of an answer, and of its prompt."""

    token: float
    prompt: float


class Probe:
    """Measures with one way of loading models.

    Attributes:
        facts: What a worker said of itself; its ``device`` is what was measured.
        disturbed: Other programs had cores that the workers would have used.

    Args:
        options: How models are loaded; only threads and device count.
        patience: Seconds after which it is given up.
    """

    def __init__(self, options: LoadOptions, patience: float = _PATIENCE):
        self._patience = patience
        self.facts: dict[str, Any] = {}
        self.disturbed = False
        self._options = LoadOptions(
            context_size=_CONTEXT,
            max_concurrent=1,
            cpu_threads=options.cpu_threads,
            device=options.device,
        )

    async def measure(
        self, kinds: Sequence[str], base: str, known: Mapping[str, KindCost]
    ) -> tuple[dict[str, KindCost], BaseCost | None]:
        """Costs of weights and of the rest; none where something else than the CPU computes.

        Args:
            kinds: Kinds of weights to measure.
            base: The kind with which the costs beside weights are measured; empty for not at all.
            known: What was measured of that kind, unless it is among ``kinds``.

        Raises:
            LLMSpellError: No worker could be had, or there is too little memory or time.
            OSError: The probe cannot be written.
        """
        shapes = [(_shape(each), each) for each in kinds]
        shapes += [(_SMALL, base)] if base else []
        if psutil.virtual_memory().available < _PROCESS * len(shapes) + 2 * _size() * len(kinds):
            raise EngineError("There is too little memory to measure with.")
        with tempfile.TemporaryDirectory(
            prefix="llmspell-probe-", ignore_cleanup_errors=True
        ) as folder:
            workers = [
                WorkerProcess(_model(Path(folder, f"{number}.gguf"), *each), BACKEND, self._options)
                for number, each in enumerate(shapes)
            ]
            try:
                async with asyncio.timeout(self._patience):
                    # Most of a load is one core's work, and none of it is measured.
                    async with asyncio.TaskGroup() as loads:
                        for worker, made in zip(workers, shapes, strict=True):
                            loads.create_task(self._load(worker, made))
                    self.facts = workers[0].facts
                    if self.facts.get("device") != "cpu":
                        return {}, None
                    return await self._measure(workers, kinds, base, known)
            except TimeoutError:
                raise EngineError("The machine is too busy to be measured.") from None
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
            finally:
                await asyncio.gather(*(each.stop() for each in workers))

    async def _load(self, worker: WorkerProcess, made: tuple[Shape, str]) -> None:
        shape, kind = made
        await asyncio.to_thread(
            probe_gguf.write, worker.model.path, shape, KINDS[kind], KINDS["F32"]
        )
        worker.start()
        async for _ in worker.loading():
            pass

    async def _measure(
        self,
        workers: Sequence[WorkerProcess],
        kinds: Sequence[str],
        base: str,
        known: Mapping[str, KindCost],
    ) -> tuple[dict[str, KindCost], BaseCost | None]:
        """Measure with one worker at a time; the others wait, and take nothing."""
        processes = [each.pid for each in workers if each.pid]
        before = _now(processes)
        found = {
            name: await self._kind(worker, name)
            for worker, name in zip(workers, kinds, strict=False)
        }
        cost = (dict(known) | found)[base] if base else None
        rest = None if cost is None else await self._base(workers[-1], base, cost)
        threads = int(self.facts.get("threads", 1))
        self.disturbed = disturbed(before, _now(processes), threads, psutil.cpu_count() or 1)
        return found, rest

    async def _kind(self, worker: WorkerProcess, name: str) -> KindCost:
        """Costs of weights of one kind; the few layers around them are part of it."""
        # The first answer brings the weights into memory.
        await self._answers(worker, "a", 1, tokens=2)
        read = await self._answers(worker, "b" * _PROMPT, 1)
        size = _weights(_shape(name), name)
        found = read + await self._answers(worker, "c", _ANSWERS - 1)
        times = sorted(each.token / size for each in found)
        return KindCost(times[0], statistics.median(times), times[-1], read[0].prompt / size)

    async def _base(self, worker: WorkerProcess, name: str, cost: KindCost) -> BaseCost:
        """Costs beside weights, with a model that has hardly any."""
        await self._answers(worker, "a", 1, tokens=2)
        short = _middle(await self._answers(worker, "b", 3))
        # Read once: the same text is there already for the answers that follow.
        long = _middle(await self._answers(worker, "c" * _LONG_PROMPT, 3))
        attention = max(0.0, long - short) / (_ATTENTION * _LONG_PROMPT)
        rest = short - attention * _ATTENTION * _TOKENS - cost.middle * _weights(_SMALL, name)
        choice = max(0.0, rest) / (_SMALL.vocabulary + _LAYER * _SMALL.layers)
        return BaseCost(layer=_LAYER * choice, choice=choice, attention=attention)

    async def _answers(
        self, worker: WorkerProcess, prompt: str, most: int, tokens: int = _TOKENS
    ) -> list[_Answer]:
        """Answers of so many tokens to a prompt, until there are ``most`` or time is up."""
        found: list[_Answer] = []
        began = time.monotonic()
        for number in range(most):
            if found and time.monotonic() - began > _SECONDS:
                break
            request = GenerationRequest(
                model="probe",
                prompt=prompt,
                max_tokens=tokens,
                # What ends an answer is never drawn.
                sampling=Sampling(temperature=0, logit_bias=((2, -float("inf")),)),
                options=self._options,
            )
            async for event in worker.answer(f"{prompt[0]}{number}", request):
                if isinstance(event, Finished) and event.usage.get("tokens_per_second"):
                    read = event.usage["prompt_tokens"] - event.usage["cached_tokens"]
                    found.append(
                        _Answer(
                            1 / event.usage["tokens_per_second"],
                            event.usage["prompt_ms"] / 1000 / max(1, read),
                        )
                    )
        if not found:
            raise EngineError("The probe gave no answer that could be measured.")
        return found


class Times(NamedTuple):
    """Seconds by the clock, of all processes' computing, and of that of the measurement."""

    clock: float
    busy: float
    own: float


def disturbed(before: Times, after: Times, threads: int, cores: int) -> bool:
    """Whether other programs had cores between two moments that a measurement would have used.

    Args:
        before: At its beginning.
        after: At its end.
        threads: Threads that it computes with.
        cores: Cores of this machine.
    """
    clock, busy, own = (now - then for now, then in zip(after, before, strict=True))
    others = max(0.0, busy - own) / max(clock, 1e-3)
    return others + threads > cores + _DISTURBED


def _now(workers: Iterable[int]) -> Times:
    """The times, with nothing of others where nothing tells."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    own = 0.0
    for pid in (None, *workers):
        with contextlib.suppress(psutil.Error):
            spent = psutil.Process(pid).cpu_times()
            own += spent.user + spent.system
    return Times(time.monotonic(), sum(times[:_TIMES]) - idle, own)


def _model(path: Path, shape: Shape, kind: str) -> ModelInfo:
    return ModelInfo(
        id="probe",
        backend="candle",
        path=path,
        format="GGUF",
        size_bytes=_weights(shape, kind),
        modified_at=0,
        architecture="llama",
        quantization=kind,
        context_length=_CONTEXT,
    )


def _shape(kind: str) -> Shape:
    """That of a probe for a kind of weights."""
    return Shape(
        max(1, round(_size() / KINDS[kind].size(Shape(1).layer_weights))), context=_CONTEXT
    )


def _weights(shape: Shape, name: str) -> int:
    """Bytes of weights that are read for a token."""
    return KINDS[name].size(shape.layers * shape.layer_weights + shape.width * shape.vocabulary)


def _middle(answers: list[_Answer]) -> float:
    return statistics.median(each.token for each in answers)


def _size(root: Path = Path("/")) -> int:
    """Bytes of weights of a probe."""
    caches = []
    for path in root.glob("sys/devices/system/cpu/cpu0/cache/index*/size"):
        try:
            caches.append(int(path.read_text().strip().removesuffix("K")) * 1024)
        except (OSError, ValueError):
            continue
    return min(_MOST, max(_LEAST, 2 * max(caches, default=0)))
