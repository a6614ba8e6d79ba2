"""P4: a disk that is too small is named before a byte comes, or when it turns out; nothing stays."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llmspell_jupyter.errors import NoSpace
from llmspell_jupyter.models.pull import space
from tests.support.hub_server import Hub
from tests.support.pulls import KEY, REPOSITORY, Pulls

ROOT = Path(__file__).parents[3]


def test_p4_a_full_disk_is_named_before_a_byte_comes(
    hub: Hub, model: Pulls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(500_000))
    with pytest.raises(NoSpace) as caught:
        model.pull()
    assert caught.value.data["free"] == 500_000
    assert caught.value.data["need"] > 1024**2
    assert "500 kB" in str(caught.value)
    assert hub.bytes_served == 0
    assert not model.root.exists()


def test_p4_what_a_partial_holds_counts(
    hub: Hub, model: Pulls, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = hub.fault(KEY, "drop", at=1024**2 - 1)
    with pytest.raises(Exception, match="asked"):
        model.pull()
    assert fault.happened
    hub.mend()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(1024**2 + 400_000))
    model.pull()


_PULL = """
import resource, signal, sys, threading
from llmspell_jupyter.errors import NoSpace
from llmspell_jupyter.models.pull import puller, space
from llmspell_jupyter.types import Lookup, PullRequest, Sources
if sys.argv[4] == "late":
    # The check beforehand sees no limit, as with quotas and other users of a disk.
    space.check = lambda *_: None
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
request = PullRequest(sys.argv[2], lookup=Lookup(caches=(sys.argv[3],)), sources=Sources(endpoint=sys.argv[1]))
try:
    puller.pull(request, lambda _: None, threading.Event())
except NoSpace as error:
    print(error.data["need"] > 1_000_000, error.data["free"] <= 300_000)
"""


@pytest.mark.parametrize("when", ["early", "late"])
def test_p4_a_limit_of_the_process_leaves_nothing(hub: Hub, model: Pulls, when: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PULL, hub.url, REPOSITORY, str(model.cache), when],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "True True\n", done.stderr
    assert not model.root.exists()
    assert (hub.served(KEY) == 0) == (when == "early")


def test_p4_a_full_file_system_leaves_nothing(
    hub: Hub, model: Pulls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One of 600 kB that only root can make; elsewhere the limit above stands for it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        monkeypatch.setattr(space, "check", lambda *_: None)
        small = Pulls(hub, disk / "cache")
        with pytest.raises(NoSpace, match="disk is full") as caught:
            small.pull()
        assert caught.value.data["need"] > 1024**2
        assert not small.root.exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


class _Usage:
    def __init__(self, free: int):
        self.total: Any = free
        self.used = 0
        self.free = free
