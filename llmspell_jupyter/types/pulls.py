"""Fetching and checking models."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from llmspell_jupyter.types.models import Lookup, Sources


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A model to fetch.

    Attributes:
        model: Model spec: a catalog name, a repository, or a model of Ollama's.
        quantization: Which files of a repository to take, such as ``Q5_K_M``; None is what the
            spec says, else ``lookup.quantization``, else what is there.
        revision: Branch, tag or commit; None is the repository's main branch.
        force: Fetch again what is there already.
        bytes_per_second: Most for this download; 0 is no limit of its own.
        locked: Path and SHA-256 of every file that must come, as a lock file says; empty takes
            what the repository has.
    """

    model: str
    quantization: str | None = None
    revision: str | None = None
    force: bool = False
    bytes_per_second: int = 0
    locked: tuple[tuple[str, str], ...] = ()
    lookup: Lookup = field(default_factory=Lookup)
    sources: Sources = field(default_factory=Sources)


class PullPhase(StrEnum):
    """Where a job stands that fetches or checks a model."""

    STARTING = "starting"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class FileProgress:
    """A file of a pull, in bytes; the total is None while it is unknown."""

    path: str
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull or a verification is.

    ``done`` never shrinks: it counts what is safely on disk and would be kept by a kill.

    Attributes:
        model: Id that the model has, or will have, on this machine.
        phase: Where it stands; the last one of a stream is ``complete``.
        done: Bytes done.
        total: Bytes in all; None while unknown.
        bytes_per_second: Over the last seconds; None while unknown.
        seconds_left: None while unknown.
        files: Its files, in the order in which they are listed.
        note: What the user should know, such as that a server is silent and is asked again.
        job: Id of the engine's job; empty outside an engine.
        metadata: Of a complete one: ``{repository, revision, path, files, bytes, downloaded,
            seconds}``, JSON values; ``downloaded`` are bytes that came over the network now.
    """

    model: str
    phase: PullPhase
    done: int = 0
    total: int | None = None
    bytes_per_second: float | None = None
    seconds_left: float | None = None
    files: tuple[FileProgress, ...] = ()
    note: str = ""
    job: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def percent(self) -> int | None:
        """Share that is done, rounded down; None when unknown."""
        return self.done * 100 // self.total if self.total else None
