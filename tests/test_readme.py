"""The README's commands and its example are what is tested."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = [text for language, text in BLOCKS if language == "sh"]


def test_both_commands_start_from_nothing() -> None:
    for command in COMMANDS[:2]:
        assert command.startswith("python3 -m venv .venv && ")
        assert "-c constraints.txt" in command
        assert 'CMAKE_ARGS="-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF"' in command


def test_the_first_command_ends_with_the_main_job() -> None:
    """Run as it stands there, but with this environment in place of the new one."""
    main_job = COMMANDS[0].replace("\\\n", " ").split("&&")[-1].strip()
    script, *arguments = main_job.split()
    assert script == ".venv/bin/jupyter"
    done = subprocess.run(
        [Path(sys.executable).parent / "jupyter", *arguments],
        cwd=ROOT,
        env=os.environ | {"LLMSPELL_RENDER": "auto"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Gravity is" in done.stdout
    assert "engine_backend: llama_cpp" in done.stdout
    assert "UserWarning" not in done.stderr


def test_the_cells_are_those_of_the_quickstart() -> None:
    book = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    cells = [cell.source for cell in book.cells if cell.cell_type == "code"][:3]
    shown = [text.rstrip("\n") for _, text in BLOCKS]
    assert all(cell in shown for cell in cells)
