"""What users import and type."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import llmspell_jupyter

ROOT = Path(__file__).parent.parent


def test_the_public_names_are_those_listed() -> None:
    listed = llmspell_jupyter.__all__
    assert sorted(listed) == sorted(set(listed))
    for name in listed:
        assert getattr(llmspell_jupyter, name) is not None
    assert set(listed) <= set(dir(llmspell_jupyter))
    assert len(listed) <= 12


def test_an_unknown_name_is_an_attribute_error() -> None:
    try:
        llmspell_jupyter.Wizard  # noqa: B018
    except AttributeError as error:
        assert "Wizard" in str(error)
    else:
        raise AssertionError


def test_importing_costs_nothing_heavy() -> None:
    program = "import sys, json, llmspell_jupyter; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    loaded = {name.split(".")[0] for name in json.loads(output)}
    assert not loaded & {"torch", "llama_cpp", "lupa", "ipywidgets", "transformers", "httpx"}


def test_there_is_one_command() -> None:
    points = importlib.metadata.distribution("llmspell-jupyter").entry_points
    scripts = [each.name for each in points if each.group == "console_scripts"]
    assert scripts == ["jupyter-llmspell"]
    assert not [each for each in points if each.group == "gui_scripts"]


def test_one_version_everywhere() -> None:
    package = json.loads((ROOT / "labextension" / "package.json").read_text())
    assert llmspell_jupyter.__version__ == package["version"]


def test_the_top_level_holds_what_the_map_names() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    top = {name.split("/")[0] for name in tracked}
    assert top <= {
        *(".ci", ".gitignore", "LICENSE", "README.md", "constraints.txt", "pyproject.toml"),
        *("builtins", "labextension", "llmspell_jupyter", "notebooks", "tests"),
    }


def test_the_lock_file_names_no_address() -> None:
    lock = json.loads((ROOT / "labextension" / "package-lock.json").read_text())
    for name, entry in lock["packages"].items():
        addresses = [key for key, value in entry.items() if str(value).startswith("http")]
        assert not addresses, (name, addresses)
