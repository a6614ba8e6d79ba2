"""What a page has to fetch of this extension is small."""

from __future__ import annotations

import gzip
from pathlib import Path

import llmspell_jupyter

BUILD = "In labextension/, type: npm ci && npm run build:prod"
MOST_BYTES = 60_000


def test_bundle_is_small() -> None:
    static = Path(llmspell_jupyter.__file__).parent / "labextension/static"
    scripts = sorted(static.glob("*.js"))
    assert scripts, BUILD
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in scripts}
    print(f"{sum(sizes.values()):,} bytes gzipped: {sizes}")
    assert sum(sizes.values()) <= MOST_BYTES, sizes
