"""Large files of a store as the hub's library leaves them that came over Xet, by that library."""

from __future__ import annotations

import hashlib
from pathlib import Path

from huggingface_hub.utils import _shared_blobs as library

from tests.support.hub_cache import LARGE, publish


def share(snapshot: Path) -> None:
    """Have the large files of a snapshot lie where all repositories of the store share them."""
    cache = snapshot.parent.parent.parent
    for name in snapshot.rglob("*"):
        if not name.name.endswith(LARGE):
            continue
        blob = snapshot.parent.parent / "blobs" / name.readlink().name
        data = blob.read_bytes()
        xet = hashlib.sha256(b"xet" + data).hexdigest()
        if not library.has_shared_blob(xet_hash=xet, cache_dir=cache, expected_size=len(data)):
            assert library.publish_blob_to_shared_store(
                blob_path=str(blob), xet_hash=xet, cache_dir=cache, expected_size=len(data)
            )
        else:
            assert library.try_link_from_shared_store(
                blob_path=str(blob), xet_hash=xet, cache_dir=cache, expected_size=len(data)
            )


def shared(cache: Path, repository: str, files: dict[str, bytes]) -> Path:
    """Put files of a repository into a store, the large ones where they are shared.

    Returns:
        The folder of the snapshot.
    """
    snapshot = publish(cache, repository, files)
    share(snapshot)
    return snapshot


def payloads(cache: Path) -> list[int]:
    """Sizes of the files that repositories of a store share."""
    return sorted(path.stat().st_size for path in library.shared_store_blob_paths(cache))
