"""The head of a model's file on the hub, read without the rest of it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llmspell_jupyter.errors import BadModelFile, ModelError, PullError
from llmspell_jupyter.models import gguf_check, gguf_reader, known, spec
from llmspell_jupyter.models.known import Known
from llmspell_jupyter.models.members import parse_table
from llmspell_jupyter.types import PullRequest, Sources

if TYPE_CHECKING:
    from llmspell_jupyter.models.hub import Plan, RemoteFile

_CONFIG = "config.json"
_LARGEST_CONFIG = 1024 * 1024
_WEIGHTS = (".gguf", ".safetensors")
_MOST_KEPT = 64


class _Kept:
    """What the last heads said; of a commit they never change. For several threads.

    Not the heads themselves, which can be of many megabytes.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, str], Known] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, plan: Plan, file: RemoteFile, read: Callable[[], Known]) -> Known:
        key = (plan.model, plan.commit, file.path)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        found = read()
        with self._lock:
            self._known[key] = found
            while len(self._known) > _MOST_KEPT:
                self._known.popitem(last=False)
        return found


_kept = _Kept()


def look(request: PullRequest) -> Known:
    """What a model on the hub would need; a few megabytes at most are read of it.

    Raises:
        LLMSpellError: As ``hub.plan``.
        BadModelFile: Its header is damaged, or one that llama.cpp would stumble over.
    """
    from llmspell_jupyter.models import hub

    plan = hub.plan(request)
    weights = [each for each in plan.files if each.path.lower().endswith(_WEIGHTS)]
    if not weights:
        raise BadModelFile(
            f"{plan.repository} holds no weights that can be read.",
            hint="Take another repository of the model.",
            data={"repository": plan.repository},
        )
    size = sum(each.size for each in weights)
    first = weights[0]
    if first.path.lower().endswith(".gguf"):
        return _kept.get(plan, first, lambda: _of_header(plan, first, size, request.sources))
    config = next((each for each in plan.files if each.path == _CONFIG), None)
    if config is not None and 0 < config.size <= _LARGEST_CONFIG:
        try:
            return _kept.get(plan, config, lambda: _of_config(plan, config, size, request.sources))
        except (PullError, ModelError):
            pass  # The size alone says most of it.
    return known.of_size(
        *(plan.model, "safetensors", size, plan.repository), spec.quantization_of(first.path)
    )


def _of_header(plan: Plan, file: RemoteFile, size: int, sources: Sources) -> Known:
    path, source = Path(file.path), _Ranged(plan, file, sources)
    walk = gguf_reader.walk_source(path, source, file.size, keep=gguf_check.NEEDED)
    gguf_check.check(path, walk)
    return known.of_header(plan.model, walk, size, plan.repository, file.path)


def _of_config(plan: Plan, file: RemoteFile, size: int, sources: Sources) -> Known:
    table = parse_table(Path(file.path), _Ranged(plan, file, sources).read(file.size))
    return known.of_config(plan.model, table, size, plan.repository)


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
