from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmspell_jupyter.engine.client import EngineClient


@pytest.fixture
def client() -> Iterator[EngineClient]:
    made = EngineClient()
    yield made
    made.close()
