"""The models of a store are listed while one blinks."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from common import median, shown, verdict

from llmspell_jupyter.models import store
from llmspell_jupyter.types import Lookup
from tests.support.hub_cache import files_of, publish
from tests.support.tiny_gguf import write_tiny_gguf
from tests.support.tiny_safetensors import write_tiny_folder

MODELS = 200
ROUNDS = 20


def run() -> bool:
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        cache = _filled(room)
        # Nothing else of this machine is counted.
        os.environ |= {"OLLAMA_MODELS": str(room / "none"), "HOME": name}
        lookup = Lookup(caches=(str(cache),))
        cold, *listings = (_listing(cache, lookup) for _ in range(ROUNDS + 1))
        resolutions = [_resolution(lookup) for _ in range(ROUNDS)]
    print(f"  {MODELS} models, each header read and checked: {cold:.3g} ms")
    print(f"  {MODELS} models, listed again: {shown(listings, 'ms')}")
    print(f"  one of them by its name: {shown(resolutions, 'ms')}")
    good = verdict(f"listing {MODELS} models takes", median(listings), 100, "ms")
    return verdict("finding one of them takes", median(resolutions), 5, "ms") and good


def _filled(room: Path) -> Path:
    """A store of 50 repositories of two GGUF files each, and 100 of safetensors."""
    gguf = write_tiny_gguf(room / "tiny.gguf").read_bytes()
    t5 = files_of(write_tiny_folder(room / "t5", kind="t5"))
    cache = room / "hub"
    for number in range(MODELS // 4):
        files = {"m-Q4_K_M.gguf": gguf, "m-Q8_0.gguf": gguf + b"\0", "README.md": b"Words."}
        publish(cache, f"owner/gguf-{number}", files)
    for number in range(MODELS // 2):
        publish(cache, f"owner/t5-{number}", t5 | {"README.md": b"Words."})
    return cache


def _listing(cache: Path, lookup: Lookup) -> float:
    begun = time.perf_counter()
    found = store.installed(lookup=lookup)
    took = 1000 * (time.perf_counter() - begun)
    assert sum(info.path.is_relative_to(cache) for info in found) == MODELS
    return took


def _resolution(lookup: Lookup) -> float:
    begun = time.perf_counter()
    store.resolve("owner/gguf-7:Q8_0", lookup)
    return 1000 * (time.perf_counter() - begun)
