"""What a user may not look into is never taken for what nobody needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub_cache import commit, publish, tree

NOBODY = 65534

CODE = """
import os, sys, time
from llmspell_jupyter.errors import NotRemovable
from llmspell_jupyter.models import removal, store
from llmspell_jupyter.models.garbage import collect
from llmspell_jupyter.types import Lookup
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
model = next((info for info in store.installed() if info.id == "owner/name:Q8_0"), None)
if model is not None:
    try:
        removal.remove(model)
    except NotRemovable as error:
        assert "cannot be removed" in str(error), error
for each in collect(Lookup(), dry_run=False, now=time.time() + 200_000):
    print(each.path.name, each.why)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users")
@pytest.mark.parametrize("mode", [0, 0o444])
@pytest.mark.parametrize(
    "closed", ["snapshots", f"snapshots/{commit(1)}", f"snapshots/{commit(1)}/sub"]
)
def test_of_a_repository_that_is_not_all_for_this_user_nothing_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str, mode: int
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    files: dict[str, bytes | Path] = {"m-Q8_0.gguf": b"GGUF", "sub/m-Q4_0.gguf": b"GGUF other"}
    publish(tmp_path / "hub", "owner/name", files)
    folder = tmp_path / "hub" / "models--owner--name"
    before = tree(folder)
    for above in folder.parents:
        if above.stat().st_uid == os.geteuid() and above.is_relative_to("/tmp"):
            above.chmod(above.stat().st_mode | 0o055)
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.lchown(path, NOBODY, NOBODY)
        os.chown(folder / closed, 0, 0)
    (folder / closed).chmod(mode)
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    (folder / closed).chmod(0o755)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert tree(folder) == before
