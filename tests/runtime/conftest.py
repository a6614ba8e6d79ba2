from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from lua_host import Script, TestHost


@pytest.fixture
def make_script() -> Iterator[Callable[..., Script]]:
    made: list[Script] = []

    def make(max_memory_bytes: int | None = None) -> Script:
        made.append(Script(TestHost(), max_memory_bytes))
        return made[-1]

    yield make
    for script in made:
        script.host.release.set()
        script.session.close()


@pytest.fixture
def script(make_script: Callable[..., Script]) -> Script:
    return make_script(max_memory_bytes=64 << 20)
