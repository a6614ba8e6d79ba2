"""Measures what this machine can do: a real worker answers with small models made for it."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
_LONG_PROMPT = 400

# Answers of one probe stop coming after so many seconds.
_SECONDS = 0.4

# Cores beyond those that there are, at which others are in the way.
_DISTURBED = 0.3

# The first fields of the system's times; those after them count twice what is in these.
_TIMES = 8

# After so many seconds a worker is given up: the machine has no time to be measured.
_PATIENCE = 6.0

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

# Numbers that it keeps for each token of context.
_CELLS = 32 * 2 * 64

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
        facts: What the last worker said of itself; its ``device`` is what was measured.
        disturbed: Other programs had cores that the workers would have used.

    Args:
        options: How models are loaded; only threads and device count.
        patience: Seconds after which a worker is given up.
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

    async def base(self, name: str, cost: KindCost) -> BaseCost:
        """Costs beside weights.

        Args:
            name: A kind of weights.
            cost: What was measured for it.

        Raises:
            LLMSpellError: No worker could be had, or there is too little memory.
            OSError: The probe cannot be written.
        """
        async with self._worker(_SMALL, name) as worker:
            short = _middle(await self._answers(worker, 1, answers=3))
            long = _middle(await self._answers(worker, _LONG_PROMPT, answers=3))
        cell = max(0.0, long - short) / (_CELLS * _LONG_PROMPT)
        rest = short - cell * _CELLS * _TOKENS - cost.middle * _weights(_SMALL, name)
        choice = max(0.0, rest) / (_SMALL.vocabulary + _LAYER * _SMALL.layers)
        return BaseCost(layer=_LAYER * choice, choice=choice, cell=cell)

    async def kind(self, name: str) -> KindCost:
        """Costs of weights of one kind; the few layers around them are part of it.

        Raises:
            LLMSpellError: As ``base``.
            OSError: As ``base``.
        """
        layers = max(1, round(_size() / KINDS[name].size(Shape(1).layer_weights)))
        shape = Shape(layers, context=_CONTEXT)
        async with self._worker(shape, name) as worker:
            # The first answer also brings the weights into memory.
            await self._answers(worker, 1, answers=1)
            found = await self._answers(worker, _PROMPT)
        size = _weights(shape, name)
        times = sorted(each.token / size for each in found)
        prompt = statistics.median(each.prompt for each in found) / size
        return KindCost(times[0], statistics.median(times), times[-1], prompt)

    @asynccontextmanager
    async def _worker(self, shape: Shape, kind: str) -> AsyncIterator[WorkerProcess]:
        """A worker that holds a probe, which is gone afterwards."""
        need = _PROCESS + 2 * _size()
        if psutil.virtual_memory().available < need:
            raise EngineError("There is too little memory to measure with.")
        with tempfile.TemporaryDirectory(prefix="llmspell-probe-") as folder:
            path = Path(folder, "probe.gguf")
            await asyncio.to_thread(probe_gguf.write, path, shape, KINDS[kind], KINDS["F32"])
            model = ModelInfo(
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
            worker = WorkerProcess(model, BACKEND, self._options)
            worker.start()
            try:
                async with asyncio.timeout(self._patience):
                    async for _ in worker.loading():
                        pass
                    self.facts = worker.facts
                    others = _Others(worker.pid)
                    yield worker
                    threads = int(worker.facts.get("threads", 1))
                    self.disturbed |= others.cores() + threads > _DISTURBED + (
                        psutil.cpu_count() or 1
                    )
            except TimeoutError:
                raise EngineError("The machine is too busy to be measured.") from None
            finally:
                await worker.stop()

    async def _answers(
        self, worker: WorkerProcess, prompt: int, answers: int = _ANSWERS
    ) -> list[_Answer]:
        """Answers to prompts of so many tokens; at least one."""
        found: list[_Answer] = []
        began = time.monotonic()
        for number in range(answers):
            if found and time.monotonic() - began > _SECONDS:
                break
            request = GenerationRequest(
                model="probe",
                # Another beginning each time, or it would be there already.
                prompt=chr(ord("a") + number) * prompt,
                max_tokens=_TOKENS,
                # What ends an answer is never drawn.
                sampling=Sampling(temperature=0, logit_bias=((2, -float("inf")),)),
                options=self._options,
            )
            async for event in worker.answer(f"probe{number}", request):
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


class _Others:
    """What all other processes compute, from now on."""

    def __init__(self, worker: int | None):
        self._own = [psutil.Process(), *([psutil.Process(worker)] if worker else [])]
        self._began = self._now()

    def cores(self) -> float:
        """How many cores they had on average; 0 where nothing tells."""
        wall, busy, own = (
            now - before for now, before in zip(self._now(), self._began, strict=True)
        )
        return max(0.0, busy - own) / max(wall, 1e-3)

    def _now(self) -> tuple[float, float, float]:
        """Seconds by the clock, of all processes, and of ours."""
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        own = 0.0
        for each in self._own:
            with contextlib.suppress(psutil.Error):
                spent = each.cpu_times()
                own += spent.user + spent.system
        return time.monotonic(), sum(times[:_TIMES]) - idle, own


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
