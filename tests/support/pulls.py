"""Pulls for tests: models of any size, a quick pace, and what a store holds afterwards."""

from __future__ import annotations

import json
import random
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmspell_jupyter.models.pull import puller
from llmspell_jupyter.models.pull.pace import Pace
from llmspell_jupyter.types import Lookup, PullProgress, PullRequest
from tests.support.hub_server import Hub
from tests.support.tiny_safetensors import CONFIGS

REPOSITORY = "owner/model"
WEIGHTS = "model.safetensors"
KEY = f"{REPOSITORY}/{WEIGHTS}"

#: Small parts and short waits.
QUICK = Pace(
    connections=4,
    least_part=64 * 1024,
    most_part=256 * 1024,
    commit=64 * 1024,
    connect_seconds=2,
    stall_seconds=0.5,
    tries=4,
    first_wait=0.02,
    longest_wait=0.1,
    longest_asked=2,
    heartbeat_seconds=0.1,
    silent_seconds=0.5,
)


def weights(size: int, seed: int = 0) -> bytes:
    """A sound safetensors file of one tensor with so many random bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(size)


def files(size: int = 1024**2, seed: int = 0) -> dict[str, bytes | Path]:
    """A model of a configuration, a tokenizer and weights."""
    return {
        "config.json": json.dumps(CONFIGS["t5"]).encode(),
        "tokenizer.json": b"{}",
        "tokenizer_config.json": b'{"legacy": false}',
        WEIGHTS: weights(size, seed),
    }


class Pulls:
    """Pulls from one hub into one store."""

    def __init__(self, hub: Hub, cache: Path):
        self.hub = hub
        self.cache = cache
        self.root = cache / "models--owner--model"
        self.reports: list[PullProgress] = []

    def request(self, model: str = REPOSITORY, **changes: Any) -> PullRequest:
        made = PullRequest(
            model, lookup=Lookup(caches=(str(self.cache),)), sources=self.hub.sources()
        )
        return replace(made, **changes)

    def pull(
        self,
        request: PullRequest | None = None,
        *,
        pace: Pace = QUICK,
        stop: threading.Event | None = None,
        report: Callable[[PullProgress], None] | None = None,
    ) -> PullProgress:
        self.reports = []

        def seen(progress: PullProgress) -> None:
            self.reports.append(progress)
            if report is not None:
                report(progress)

        return puller.pull(request or self.request(), seen, stop or threading.Event(), pace=pace)

    def published(self) -> dict[str, bytes]:
        """What snapshots show, by path in them."""
        return {
            "/".join(path.relative_to(self.root / "snapshots").parts[1:]): path.read_bytes()
            for path in (self.root / "snapshots").rglob("*")
            if path.is_file()
        }

    def left(self) -> list[str]:
        """Files in the store that are not part of a published model."""
        good = {path.resolve() for path in self.root.rglob("snapshots/**/*") if path.is_file()}
        return sorted(
            str(path.relative_to(self.cache))
            for path in self.cache.rglob("*")
            if path.is_file()
            and path.resolve() not in good
            and "refs" not in path.relative_to(self.cache).parts
        )

    @property
    def notes(self) -> str:
        """All that was said on the way."""
        return "\n".join(dict.fromkeys(each.note for each in self.reports if each.note))
