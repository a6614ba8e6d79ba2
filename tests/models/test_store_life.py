"""A model from its pull to its removal: each part believes what the one before it says."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmspell_jupyter.errors import HashMismatch, Interrupted
from llmspell_jupyter.models import garbage, store
from llmspell_jupyter.models.pull import pull
from llmspell_jupyter.models.removal import remove
from llmspell_jupyter.models.verify import verify
from llmspell_jupyter.types import Lookup, ModelInfo, PullPhase, PullProgress, PullRequest
from tests.support import hub_server
from tests.support.hub_cache import blob_of, files_of, tree
from tests.support.tiny_gguf import write_tiny_gguf
from tests.support.tiny_safetensors import write_tiny_folder


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[hub_server.Hub]:
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf").read_bytes()
    with hub_server.hub() as running:
        running.add("owner/gguf", {"m-Q4_K_M.gguf": gguf, "m-Q8_0.gguf": gguf + bytes(32)})
        parts = {f"Q8_0/m-Q8_0-0000{n}-of-00002.gguf": gguf + bytes(32 * n) for n in (1, 2)}
        running.add("owner/parts", parts)
        running.add("owner/t5", files_of(write_tiny_folder(tmp_path / "t5", shards=2)))
        yield running


def pulled(hub: hub_server.Hub, name: str, *, force: bool = False) -> PullProgress:
    request = PullRequest(name, force=force, sources=hub.sources())
    return pull(request, lambda _: None, threading.Event())


def checked(model: ModelInfo) -> PullProgress:
    return verify(model, lambda _: None, threading.Event())


@pytest.mark.parametrize("name", ["owner/gguf", "owner/gguf:Q8_0", "owner/t5"])
def test_pulled_listed_checked_mended_removed(cache: Path, hub: hub_server.Hub, name: str) -> None:
    said = pulled(hub, name)
    (model,) = (info for info in store.installed() if info.store == "hub")
    assert model.id == said.model and model == store.resolve(name)
    assert (model.repository, model.revision) == (
        said.metadata["repository"],
        said.metadata["revision"],
    )
    assert model.architecture
    assert checked(model).metadata["unchecked"] == []
    blob = blob_of(model.path / "config.json" if model.path.is_dir() else model.path)
    data = bytearray(blob.read_bytes())
    data[random.Random(1).randrange(len(data))] ^= 1
    blob.write_bytes(data)
    with pytest.raises(HashMismatch) as caught:
        checked(model)
    line = caught.value.hint.partition("type: ")[2].partition(" (in")[0]
    magic, spec, force = line.split()
    assert (magic, force) == ("%model_pull", "--force")
    pulled(hub, spec, force=True)
    assert checked(store.resolve(name)).phase is PullPhase.COMPLETE
    assert remove(store.resolve(name)) > 0
    assert tree(cache) == []


@pytest.mark.timeout(20)
def test_a_pull_that_was_stopped_is_garbage_when_it_is_old(
    cache: Path, hub: hub_server.Hub
) -> None:
    hub.fault("owner/gguf/m-Q8_0.gguf", "stall", at=50_000)
    stop = threading.Event()

    def report(progress: PullProgress) -> None:
        if progress.phase is PullPhase.DOWNLOADING:
            stop.set()

    with pytest.raises(Interrupted):
        pull(PullRequest("owner/gguf:Q8_0", sources=hub.sources()), report, stop)
    assert [info for info in store.installed() if info.store == "hub"] == []
    now = time.time()
    assert garbage.collect(Lookup(), dry_run=False, now=now) == ()
    found = garbage.collect(Lookup(), dry_run=False, now=now + 2 * garbage.GRACE)
    assert found
    assert tree(cache) == []
