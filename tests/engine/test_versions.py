"""Libraries that are too old are named before they are used (threat M8)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from llmspell_jupyter.engine import versions
from tests.support.engines import engine

ROOT = Path(__file__).parents[2]

CHECK = """
import json, sys
from llmspell_jupyter.engine import versions
from llmspell_jupyter.errors import BackendOutdated
refused = {}
for package in versions.FLOORS:
    try:
        versions.check(package)
    except BackendOutdated as error:
        refused[package] = [error.message, error.hint, error.data]
imported = sorted({"torch", "transformers", "jinja2", "jupyter_server"} & set(sys.modules))
print(json.dumps([refused, versions.warnings(), imported]))
"""


def installed(place: Path, **found: str) -> dict[str, str]:
    """An environment in which these versions seem to be installed, before all others."""
    for package, version in found.items():
        folder = place / f"{package}-{version or 'none'}.dist-info"
        folder.mkdir(parents=True)
        text = f"Metadata-Version: 2.1\nName: {package}\n"
        folder.joinpath("METADATA").write_text(text + (f"Version: {version}\n" if version else ""))
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(place), str(ROOT)])}


def checked(environment: dict[str, str]) -> tuple[dict[str, list[str]], list[str], list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    refused, warned, imported = json.loads(done.stdout)
    return refused, warned, imported


OLD = {"torch": "2.5.1", "transformers": "5.2.9", "jinja2": "3.1.5", "jupyter_server": "2.17.0"}
NEW = {"torch": "2.6.0+cpu", "transformers": "5.3", "jinja2": "3.1.6", "jupyter_server": "2.18.0"}


def test_old_ones_are_refused_with_the_line_to_type(tmp_path: Path) -> None:
    refused, warned, imported = checked(installed(tmp_path, **OLD))
    assert list(refused) == list(OLD) and len(warned) == len(OLD) and imported == []
    for package, (message, hint, data) in refused.items():
        floor = versions.FLOORS[package][0]
        assert message.startswith(f"{package} {OLD[package]} is installed; versions before {floor}")
        assert f'-m pip install --upgrade "{package}>={floor}"' in hint
        assert data["version"] == OLD[package]  # type: ignore[index]
        assert any(line.startswith(message) and data["install"] in line for line in warned)  # type: ignore[index]


def test_new_ones_pass(tmp_path: Path) -> None:
    assert checked(installed(tmp_path, **NEW)) == ({}, [], [])


@pytest.mark.parametrize(
    ("version", "good"),
    [
        *(("2.6", True), ("2.6.0", True), ("2.6.0.post1", True), ("2.10.1", True), ("3", True)),
        *(("2.6.0a0+git123", False), ("2.6.0rc1", False), ("2.6.dev20250101", False)),
        *(("2.5.99", False), ("1.13", False), ("2", False), ("unknown", False), ("", False)),
        *(("2.7.0a0", True), ("2.13.0+cu130", True)),
    ],
)
def test_how_versions_compare(tmp_path: Path, version: str, good: bool) -> None:
    refused, _, _ = checked(installed(tmp_path, **(NEW | {"torch": version})))
    assert ("torch" not in refused) == good


def test_what_is_not_installed_passes() -> None:
    # -S leaves every installed package out; ours alone is found.
    code = (
        "from llmspell_jupyter.engine import versions;"
        "versions.check(*versions.FLOORS); print(versions.warnings())"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_floors_are_those_of_the_package() -> None:
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    asked = [*project["dependencies"], *(line for extra in extras for line in extra)]
    for package, (floor, _) in versions.FLOORS.items():
        lines = [each for each in asked if each.partition(">=")[0] == package]
        assert all(line == f"{package}>={floor}" for line in lines), lines
        assert lines or package == "jupyter_server"


def test_an_engine_says_so_at_its_start(tmp_path: Path) -> None:
    variables = installed(tmp_path, **(NEW | {"torch": "2.5.0"}))
    with engine(PYTHONPATH=variables["PYTHONPATH"]) as running:
        warned = running.status()["warnings"]
    assert len(warned) == 1 and warned[0].startswith("torch 2.5.0 is installed")
