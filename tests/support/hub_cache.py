"""Stores laid out as the Hugging Face cache, made by hand: fast, and broken where a test wants."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from llmspell_jupyter.models import spec

#: Endings of files that the hub keeps by their SHA-256; it keeps others by git's hash.
LARGE = (".gguf", ".safetensors", ".bin", ".onnx")


def commit(number: int) -> str:
    return f"{number:040x}"


def blob_name(name: str, data: bytes) -> str:
    if name.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def publish(
    cache: Path,
    repository: str,
    files: Mapping[str, bytes | Path],
    *,
    revision: str = commit(1),
    ref: str | None = "main",
) -> Path:
    """Put files of a repository into a store; those that are there stay.

    Returns:
        The folder of the snapshot.
    """
    folder = cache / spec.repository_folder(repository)
    snapshot = folder / "snapshots" / revision
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.read_bytes()
        blob = folder / "blobs" / blob_name(name, data)
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to("../" * (2 + name.count("/")) + f"blobs/{blob.name}")
    if ref:
        path = folder / "refs" / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(revision)
    return snapshot


def files_of(folder: Path) -> dict[str, bytes]:
    """The files directly in a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def blob_of(link: Path) -> Path:
    return link.resolve()


def tree(folder: Path) -> list[str]:
    """All that is below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
