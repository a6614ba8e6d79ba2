from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kernels import Notebook, notebook


@pytest.fixture(scope="module")
def book() -> Iterator[Notebook]:
    """One kernel for the module, rendering plainly."""
    with notebook() as made:
        yield made


@pytest.fixture(scope="module")
def live_book() -> Iterator[Notebook]:
    """One kernel for the module, with live lines."""
    with notebook(LLMSPELL_RENDER="auto") as made:
        yield made
