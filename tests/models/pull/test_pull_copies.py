"""A store whose snapshots hold files instead of links, as where there are no links, or as a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llmspell_jupyter.models.hub import planning
from llmspell_jupyter.models.pull.publish import Place
from tests.support import pulls
from tests.support.hub_server import Hub
from tests.support.pulls import KEY, WEIGHTS, Pulls


@pytest.fixture
def snapshot(model: Pulls) -> Path:
    """A model of the hub that is here as a copy with its links followed: it has no blobs."""
    model.pull()
    plain = model.root.with_name("plain")
    shutil.copytree(model.root / "snapshots", plain)
    shutil.rmtree(model.root / "snapshots")
    plain.rename(model.root / "snapshots")
    shutil.rmtree(model.root / "blobs")
    (found,) = (model.root / "snapshots").iterdir()
    assert not any(path.is_symlink() for path in found.iterdir())
    return found


def test_a_model_that_is_here_stays_as_it_is(hub: Hub, model: Pulls, snapshot: Path) -> None:
    asked = len(hub.requests)
    assert model.pull().metadata["downloaded"] == 0
    assert all(KEY not in each.key for each in hub.requests[asked:])
    assert model.published() == pulls.files()
    assert not any(path.is_symlink() for path in snapshot.iterdir())


def test_a_branch_that_comes_to_it_is_noted(model: Pulls, snapshot: Path) -> None:
    (model.root / "refs" / "main").write_text("0" * 40)
    model.pull()
    assert (model.root / "refs" / "main").read_text() == snapshot.name
    assert model.published() == pulls.files()


def test_what_is_missing_of_it_is_fetched(model: Pulls, snapshot: Path) -> None:
    (snapshot / "tokenizer.json").unlink()
    model.pull()
    assert model.published() == pulls.files()


def test_no_file_gives_way_to_a_link_to_nothing(model: Pulls, snapshot: Path) -> None:
    """Whoever removes blobs may come between two steps of a pull."""
    place = Place(model.cache, planning.plan(model.request()))
    place.publish([])
    assert not (snapshot / WEIGHTS).is_symlink()
    assert model.published() == pulls.files()
