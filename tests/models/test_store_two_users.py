"""A store that one user keeps for all, and a private one of another user on top of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hub_cache import publish, tree
from tests.support.tiny_gguf import write_tiny_gguf

NOBODY = 65534

#: What the second user sees and may do; prints it as JSON.
SECOND_USER = """
import json, os, sys, threading, time
from llmspell_jupyter.engine.backends.llama_cpp import BACKEND
from llmspell_jupyter.errors import NotRemovable
from llmspell_jupyter.models import garbage, removal, store, verify
from llmspell_jupyter.types import GenerationRequest, LoadOptions, Lookup, Sampling

def ours():
    return {i.id: i.store for i in store.installed() if i.store in ("hub", "shared")}

def written(name):
    model = BACKEND.load(store.resolve(name), LoadOptions(context_size=64, cpu_threads=1), lambda _: None)
    model.start("r", GenerationRequest("m", prompt="the sea", max_tokens=3, sampling=Sampling(temperature=0)), lambda: False)
    count = 0
    while model.active:
        model.step()
        count += 1
    model.close()
    return count > 0

# The interpreter's own files may be another's: all that is imported at first use is, here.
assert written("owner/common:Q8_0")
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
said = {"uid": os.geteuid(), "before": ours()}
said["written"] = {name: written(name) for name in said["before"]}
shared = store.resolve("owner/common:Q8_0")
said["sound"] = verify.verify(shared, lambda _: None, threading.Event()).phase
try:
    removal.remove(shared)
except NotRemovable as error:
    said["refused"] = str(error)
said["garbage"] = [str(each.path) for each in garbage.collect(Lookup(), dry_run=False, now=time.time() + 200_000)]
said["freed"] = removal.remove(store.resolve("owner/both:Q8_0"))
said["after"] = ours()
print(json.dumps(said))
"""


def open_to_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() else 0o444)
    folder.chmod(0o555)
    for above in folder.parents:
        if above.stat().st_uid == os.geteuid() and above.is_relative_to("/tmp"):
            above.chmod(above.stat().st_mode | 0o055)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users")
def test_a_shared_store_below_a_private_one(tmp_path: Path) -> None:
    """As root the stores have two owners; otherwise modes alone keep the shared one from writing."""
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf").read_bytes()
    shared, private = tmp_path / "shared", tmp_path / "private"
    for name in ("owner/common", "owner/both"):
        publish(shared, name, {"m-Q8_0.gguf": gguf})
    lost = shared / "models--owner--common" / "blobs" / ("a" * 64)
    lost.write_bytes(b"unused")
    for name in ("owner/mine", "owner/both"):
        publish(private, name, {"m-Q8_0.gguf": gguf})
    open_to_all(shared)
    home = tmp_path / "home"
    home.mkdir()
    if os.geteuid() == 0:
        for path in (home, private, *private.rglob("*")):
            os.lchown(path, NOBODY, NOBODY)
    before = tree(shared)
    environment = os.environ | {
        "HOME": str(home),
        "HF_HUB_CACHE": str(private),
        "LLMSPELL_MODELS_SHARED": str(shared),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", SECOND_USER],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        for path in (shared, *shared.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["uid"] == (NOBODY if os.geteuid() == 0 else os.geteuid())
    assert said["before"] == {
        "owner/both:Q8_0": "hub",
        "owner/mine:Q8_0": "hub",
        "owner/common:Q8_0": "shared",
    }
    assert set(said["written"].values()) == {True}
    assert said["sound"] == "complete"
    folder = shared / "models--owner--common"
    assert "is kept for everyone" in said["refused"]
    assert f"Ask who looks after it to type: rm -r {folder}" in said["refused"]
    assert (said["garbage"], said["freed"]) == ([], len(gguf))
    # The private copy is gone; what everybody has shows again.
    assert said["after"] == {
        "owner/mine:Q8_0": "hub",
        "owner/both:Q8_0": "shared",
        "owner/common:Q8_0": "shared",
    }
    assert tree(shared) == before
