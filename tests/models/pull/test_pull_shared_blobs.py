"""A store in which the hub's library keeps large files once for all repositories is pulled into."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir

from tests.support.pulls import WEIGHTS, Pulls
from tests.support.shared_blobs import payloads, share, shared


@pytest.fixture
def snapshot(model: Pulls) -> Path:
    """A model of the hub that is here, with its weights where they are shared."""
    found = Path(model.pull().metadata["path"])
    share(found)
    return found


def test_what_is_shared_is_here(model: Pulls, snapshot: Path) -> None:
    before = (snapshot / WEIGHTS).resolve()
    done = model.pull()
    assert done.metadata["downloaded"] == 0
    assert (snapshot / WEIGHTS).resolve() == before
    assert payloads(model.cache) == [before.stat().st_size]


def test_force_leaves_no_shared_file_that_nobody_needs(model: Pulls, snapshot: Path) -> None:
    content = (snapshot / WEIGHTS).read_bytes()
    (snapshot / WEIGHTS).resolve().chmod(0o600)
    (snapshot / WEIGHTS).resolve().write_bytes(b"x" * len(content))
    model.pull(model.request(force=True))
    assert (snapshot / WEIGHTS).read_bytes() == content
    assert payloads(model.cache) == [] and not scan_cache_dir(model.cache).warnings


def test_force_takes_nothing_from_others(model: Pulls, snapshot: Path) -> None:
    content = (snapshot / WEIGHTS).read_bytes()
    other = shared(model.cache, "owner/other", {WEIGHTS: content})
    model.pull(model.request(force=True))
    assert (other / WEIGHTS).read_bytes() == content
    assert payloads(model.cache) == [len(content)] and not scan_cache_dir(model.cache).warnings
