"""Bytes that the repositories of a Hugging Face cache share.

The hub's library keeps what came over Xet once for a whole cache: ``blobs/XX/HASH`` beside the
folders of the repositories holds the bytes, and ``models--OWNER--NAME/blobs/HASH`` is a link to it.
Reading needs no library. What nobody needs it alone may take away: it counts who links to what,
under a lock of its own. Where it is older than this layout, such bytes stay.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

_MARK = ".huggingface-shared-blobs"
_HASH = re.compile(r"[0-9a-f]{64}")


def holds(cache: Path, path: Path) -> bool:
    """Whether a path is where the repositories of a cache share a file, there or not.

    Args:
        cache: The cache.
        path: The path; no part of it is a link that the cache's own path does not have.
    """
    return (
        _HASH.fullmatch(path.name) is not None
        and path.parent == cache / "blobs" / path.name[:2]
        and _is_store(cache / "blobs")
    )


def behind(blob: Path) -> Path | None:
    """The shared file that a repository's blob is a link to, there or not; None for another."""
    try:
        target = Path(os.path.normpath(blob.parent / blob.readlink()))
    except OSError:
        return None
    return target if holds(_cache(blob), target) else None


def freed_with(blob: Path) -> int:
    """Bytes that become free once a repository's blob is gone; none where others share them."""
    try:
        from huggingface_hub.utils._shared_blobs import expected_shared_blob_freed_size
    except ImportError:
        return 0
    shared, cache = behind(blob), _cache(blob)
    if shared is None:
        return 0
    return expected_shared_blob_freed_size(shared, blob_paths_to_delete={blob}, cache_dir=cache)


def sweep(shared: Path) -> int:
    """Remove a shared file if no repository links to it any more; bytes that are free again."""
    try:
        from huggingface_hub.utils._shared_blobs import sweep_shared_blob
    except ImportError:
        return 0
    return sweep_shared_blob(shared, cache_dir=shared.parent.parent.parent)


def unneeded(cache: Path) -> dict[Path, int]:
    """The shared files of a cache that no repository links to, and how many bytes they have."""
    if not _is_store(cache / "blobs"):
        return {}
    try:
        from huggingface_hub.utils._shared_blobs import unreferenced_shared_blobs
    except ImportError:
        return {}
    return unreferenced_shared_blobs(cache)


def _cache(blob: Path) -> Path:
    return blob.parent.parent.parent


def _is_store(folder: Path) -> bool:
    """Whether the library made this folder; one of this name may be anybody's."""
    try:
        kinds = folder.lstat().st_mode, (folder / _MARK).lstat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(kinds[0]) and stat.S_ISREG(kinds[1])
