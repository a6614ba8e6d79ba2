"""The head of a model's file on the hub, read without the rest of it."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.errors import BadModelFile, ModelError, PullError
from llmspell_jupyter.models import gguf_reader, known, spec
from llmspell_jupyter.models.gguf_reader import Walk
from llmspell_jupyter.models.known import Known
from llmspell_jupyter.types import PullRequest, Sources

if TYPE_CHECKING:
    from llmspell_jupyter.models.hub import Plan, RemoteFile

_CONFIG = "config.json"
_LARGEST_CONFIG = 1024 * 1024
_WEIGHTS = (".gguf", ".safetensors")
_MOST_KEPT = 64


class _Kept:
    """The last heads that were read; of a commit they never change. For several threads."""

    def __init__(self) -> None:
        self._heads: OrderedDict[tuple[str, str, str], Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str, str], read: Callable[[], Any]) -> Any:
        with self._lock:
            if key in self._heads:
                self._heads.move_to_end(key)
                return self._heads[key]
        found = read()
        with self._lock:
            self._heads[key] = found
            while len(self._heads) > _MOST_KEPT:
                self._heads.popitem(last=False)
        return found


_kept = _Kept()


def look(request: PullRequest) -> Known:
    """What a model on the hub would need; a few megabytes at most are read of it.

    Raises:
        LLMSpellError: As ``hub.plan``.
        BadModelFile: Its header is damaged.
    """
    from llmspell_jupyter.models import hub

    plan = hub.plan(request)
    weights = [each for each in plan.files if each.path.endswith(_WEIGHTS)]
    if not weights:
        raise BadModelFile(
            f"{plan.repository} holds no weights that can be read.",
            hint="Take another repository of the model.",
            data={"repository": plan.repository},
        )
    size = sum(each.size for each in weights)
    first = weights[0]
    if first.path.endswith(".gguf"):
        walk = header(plan, first, request.sources)
        return known.of_header(plan.model, walk, size, plan.repository, first.path)
    config = next((each for each in plan.files if each.path == _CONFIG), None)
    if config is not None and 0 < config.size <= _LARGEST_CONFIG:
        try:
            table = _json(plan, config, request.sources)
            return known.of_config(plan.model, table, size, plan.repository)
        except (PullError, ModelError, ValueError):
            pass  # The size alone says most of it.
    return known.of_size(
        *(plan.model, "safetensors", size, plan.repository), spec.quantization_of(first.path)
    )


def header(plan: Plan, file: RemoteFile, sources: Sources) -> Walk:
    """The header of a GGUF file on the hub; a commit's is read once.

    Args:
        plan: What the file is part of.
        file: The file.
        sources: Where to read it.

    Raises:
        BadModelFile: It is damaged, or longer than headers are.
        PullError: It could not be read.
    """
    key = (plan.repository, plan.commit, file.path)
    walk: Walk = _kept.get(
        key,
        lambda: gguf_reader.walk_source(Path(file.path), _Ranged(plan, file, sources), file.size),
    )
    return walk


def _json(plan: Plan, file: RemoteFile, sources: Sources) -> dict[str, Any]:
    def read() -> Any:
        return json.loads(_Ranged(plan, file, sources).read(file.size))

    table = _kept.get((plan.repository, plan.commit, file.path), read)
    if not isinstance(table, dict):
        raise ValueError("no table")
    return table


class _Ranged:
    """A file on the hub as a source of bytes."""

    def __init__(self, plan: Plan, file: RemoteFile, sources: Sources):
        from llmspell_jupyter.models import hub

        self._url = hub.file_url(plan, file, sources)
        self._size = file.size
        self._sources = sources
        self._at = 0

    def seek(self, at: int) -> None:
        self._at = at

    def read(self, size: int) -> bytes:
        from llmspell_jupyter.models.transfer.ranged import ranged

        end = min(self._at + size, self._size)
        if end <= self._at:
            return b""
        data = ranged(self._url, self._sources, self._at, end)
        self._at += len(data)
        return data
