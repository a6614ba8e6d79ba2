"""A hub with one model, and a store to pull it into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hub_server, pulls
from tests.support.hub_server import Hub
from tests.support.pulls import Pulls


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.hub() as made:
        made.add(pulls.REPOSITORY, pulls.files(), license="apache-2.0")
        yield made


@pytest.fixture
def model(hub: Hub, tmp_path: Path) -> Pulls:
    return Pulls(hub, tmp_path / "cache")
