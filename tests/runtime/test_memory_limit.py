"""The memory that a script may take is what the profile in force says when it starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.errors import ScriptMemory
from llmspell_jupyter.runtime.runtime import Runtime

#: Fits into the usual limit of 50 MB, and not into 4 MB.
BIG = 'return #string.rep("x", 20000000)'


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    made = Runtime()
    yield made
    made.reset()
    made.engine.close()


def _script(runtime: Runtime, source: str) -> Any:
    return runtime.start_lua(source, "cell[1]").result(timeout=30)


def _allow(runtime: Runtime, file: Path, size: int) -> None:
    file.write_text(f"engines.lua.max_memory_bytes = {size}\n")
    runtime.use(config_file=file)


def test_a_lower_limit_holds_for_the_next_script(runtime: Runtime, tmp_path: Path) -> None:
    assert _script(runtime, f"kept = 'yes' {BIG}") == 20_000_000
    _allow(runtime, tmp_path / "small.toml", 4_000_000)
    with pytest.raises(ScriptMemory, match=r"its limit of 3\.8147 MiB") as error:
        _script(runtime, BIG)
    assert error.value.data["limit_bytes"] == 4_000_000
    assert _script(runtime, "return kept") == "yes"


def test_a_higher_limit_helps_the_next_script(runtime: Runtime, tmp_path: Path) -> None:
    _allow(runtime, tmp_path / "small.toml", 4_000_000)
    with pytest.raises(ScriptMemory) as error:
        _script(runtime, f"kept = 'yes' {BIG}")
    # The hint is a line for a file, and what to type then.
    line = "engines.lua.max_memory_bytes = 8000000"
    assert line in error.value.hint and "%llmspell_profile -c FILE" in error.value.hint
    _allow(runtime, tmp_path / "large.toml", 64_000_000)
    assert _script(runtime, f"{BIG}, kept") == [20_000_000, "yes"]


def test_variables_of_earlier_scripts_leave_room_to_free_them(
    runtime: Runtime, tmp_path: Path
) -> None:
    _script(runtime, "kept = string.rep('x', 20000000)")
    _allow(runtime, tmp_path / "small.toml", 4_000_000)
    assert _script(runtime, "kept = nil return 'free'") == "free"
    with pytest.raises(ScriptMemory):
        _script(runtime, BIG)
