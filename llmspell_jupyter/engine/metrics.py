"""What the engine counts: requests, tokens, times, queues, memory. Never who asked."""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import psutil

from llmspell_jupyter.engine.prometheus import Counter, Family, Gauge, Histogram
from llmspell_jupyter.errors import Interrupted, LLMSpellError
from llmspell_jupyter.types import Chunk, Phase, Progress, Result

_FIRST_TOKEN_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_SPEEDS = (1, 2, 5, 10, 20, 30, 50, 75, 100, 200, 500, 1000)

_WHICH = ("model", "backend")

Part = Progress | Chunk | Result


@dataclass(slots=True)
class Asked:
    """A request on its way.

    Attributes:
        kind: Kind of job.
        model: Id of the model; empty until it is found.
        backend: Name of the backend; empty until it is chosen.
    """

    kind: str
    model: str = ""
    backend: str = ""


class Metrics:
    """Counters and histograms of one engine, since it started."""

    def __init__(self) -> None:
        self._requests = Counter(
            "llmspell_requests_total",
            "Requests that have ended, by how: ok, cancelled, or the kind of error.",
            ("kind", *_WHICH, "outcome"),
        )
        self._read = Counter(
            "llmspell_prompt_tokens_total", "Tokens of prompts, cached ones included.", _WHICH
        )
        self._cached = Counter(
            "llmspell_cached_tokens_total", "Tokens of prompts that had been read before.", _WHICH
        )
        self._written = Counter("llmspell_completion_tokens_total", "Tokens written.", _WHICH)
        self._first = Histogram(
            "llmspell_time_to_first_token_seconds",
            "From the request to its first token, queue and loading included.",
            _WHICH,
            bounds=_FIRST_TOKEN_SECONDS,
        )
        self._speed = Histogram(
            "llmspell_completion_tokens_per_second",
            "Speed of an answer after its first token.",
            _WHICH,
            bounds=_SPEEDS,
        )
        self._pulls = Counter(
            "llmspell_pulls_total",
            "Downloads and checks of models that have ended, by how.",
            ("kind", "outcome"),
        )
        self._downloaded = Counter(
            "llmspell_downloaded_bytes_total", "Bytes of models that were downloaded to their end."
        )

    async def measured(
        self, asked: Asked, parts: AsyncGenerator[Part, None]
    ) -> AsyncGenerator[Part, None]:
        """The same parts; when they end, it is counted how."""
        outcome = "cancelled"
        try:
            async with aclosing(parts):
                async for part in parts:
                    if not isinstance(part, Progress | Chunk):
                        self._count(asked, part.metadata)
                        outcome = "ok"
                    yield part
        except Interrupted:
            raise
        except Exception as error:
            outcome = type(error).__name__ if isinstance(error, LLMSpellError) else "EngineError"
            raise
        finally:
            self._requests.add(asked.kind, asked.model, asked.backend, outcome)

    def pulled(self, kind: str, error: LLMSpellError | None, downloaded: int) -> None:
        """Count a download or check of a model that has ended.

        Args:
            kind: ``pull`` or ``verify``.
            error: What it failed with; None when it is complete.
            downloaded: Bytes that came over the network.
        """
        failed = "cancelled" if isinstance(error, Interrupted) else type(error).__name__
        self._pulls.add(kind, "ok" if error is None else failed)
        self._downloaded.add(number=downloaded)

    def _count(self, asked: Asked, facts: Mapping[str, Any]) -> None:
        which = (asked.model, asked.backend)
        for counter, name in (
            (self._read, "prompt_tokens"),
            (self._cached, "cached_tokens"),
            (self._written, "completion_tokens"),
        ):
            if name in facts:
                counter.add(*which, number=facts[name] or 0)
        if first := facts.get("time_to_first_token_ms"):
            self._first.observe(*which, number=first / 1000)
        if speed := facts.get("tokens_per_second"):
            self._speed.observe(*which, number=speed)

    def text(self, status: Mapping[str, Any]) -> str:
        """All families.

        Args:
            status: What ``/api/status`` answers.
        """
        families = (
            *_engine(status),
            *_models(status["workers"], status["jobs"]),
            *(self._requests, self._read, self._cached, self._written, self._first, self._speed),
            *(self._pulls, self._downloaded),
        )
        return "".join(family.text() for family in families)


def _engine(status: Mapping[str, Any]) -> Iterable[Family]:
    yield Gauge(
        "llmspell_engine_info",
        "Always 1; the label tells.",
        ("version",),
        samples={(str(status["version"]),): 1},
    )
    yield Gauge(
        "llmspell_engine_uptime_seconds",
        "Since the engine started.",
        samples={(): round(time.time() - status["started"], 3)},
    )
    yield Gauge(
        "llmspell_engine_resident_memory_bytes",
        "Memory of the engine without its workers.",
        samples={(): _resident(status["pid"])},
    )


def _models(
    workers: Iterable[Mapping[str, Any]], jobs: Iterable[Mapping[str, Any]]
) -> Iterable[Family]:
    loaded: Tally[tuple[str, ...]] = Tally()
    resident: Tally[tuple[str, ...]] = Tally()
    waiting: Tally[tuple[str, ...]] = Tally()
    running: Tally[tuple[str, ...]] = Tally()
    for worker in workers:
        model = (str(worker["model"]),)
        waiting[model] += 0
        running[model] += 0
        resident[model] += _resident(worker["pid"])
        loaded[model] += worker["state"] == "ready"
    for job in jobs:
        if "progress" in job:
            continue  # Of files, not of a loaded model.
        queued = job["phase"] == Phase.QUEUED
        (waiting if queued else running)[(job["model"],)] += 1
    told = (
        ("llmspell_models_loaded", "Workers that hold the model and are ready.", loaded),
        ("llmspell_model_resident_memory_bytes", "Memory of the model's workers.", resident),
        ("llmspell_queue_waiting_requests", "Requests that wait for their turn.", waiting),
        ("llmspell_running_requests", "Requests that are worked on.", running),
    )
    return [Gauge(name, meaning, ("model",), samples=tally) for name, meaning, tally in told]


def _resident(pid: int | None) -> int:
    with suppress(psutil.Error):
        if pid is not None:
            return int(psutil.Process(pid).memory_info().rss)
    return 0
