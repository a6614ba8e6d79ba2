"""Configurations exist once: everything else names a profile."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from llmspell_jupyter.config import loading

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)


def test_only_profiles_are_configurations() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "*.toml"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert [each for each in listed if not each.startswith("builtins/")] == ["pyproject.toml"]


def test_no_notebook_carries_one() -> None:
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert "[providers" not in path.read_text("utf-8"), path


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_start_from_a_profile_and_are_valid(text: str, tmp_path: Path) -> None:
    assert text.startswith("extends = ")
    file = tmp_path / "llmspell.toml"
    file.write_text(text)
    assert loading.check_file(file).pending is not None
