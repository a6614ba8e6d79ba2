from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.browser import Lab
from tests.support.hub_lab import HOSTILE, hub_lab, small_hub
from tests.support.hub_server import Hub

_TITLES = {"red": "a test", "blue": "a test", "hostile": " ".join(HOSTILE)}


@pytest.fixture(scope="package")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub with three small models."""
    with small_hub(tmp_path_factory.mktemp("hub"), [*_TITLES]) as made:
        yield made


@pytest.fixture(scope="package")
def opened(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One JupyterLab and one browser for all."""
    with hub_lab(tmp_path_factory.mktemp("lab"), hub, _TITLES) as made:
        yield made
