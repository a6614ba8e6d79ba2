"""Repositories of the loopback hub: files with their hashes, commits, branches and tags."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What is kept in Git LFS, as in the hub's own ``.gitattributes``.
LFS_ENDINGS = (
    *(".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".onnx"),
    *(".model", ".npz", ".pkl", ".pickle", ".zip", ".tar", ".gz"),
)
_LFS_SIZE = 10 * 1024**2
_PIECE = 1024**2


@dataclass(frozen=True)
class File:
    """A file of one commit; its content is in memory or on disk."""

    path: str
    content: bytes | Path
    size: int
    sha256: str
    oid: str
    lfs: bool

    @property
    def etag(self) -> str:
        """What the hub names its content by: SHA-256 of what is in LFS, else git's hash."""
        return self.sha256 if self.lfs else self.oid

    def read(self, start: int = 0, end: int | None = None) -> bytes:
        """Bytes from ``start`` up to ``end``."""
        end = self.size if end is None else end
        if isinstance(self.content, bytes):
            return self.content[start:end]
        with self.content.open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    def _pointer(self) -> dict[str, Any]:
        return {"size": self.size, "pointerSize": len(_pointer(self.sha256, self.size))}

    def in_tree(self) -> dict[str, Any]:
        """As ``/tree`` and ``/paths-info`` show it."""
        shown: dict[str, Any] = {"type": "file", "oid": self.oid, "size": self.size}
        if self.lfs:
            shown["lfs"] = {"oid": self.sha256, **self._pointer()}
        return shown | {"path": self.path}

    def as_sibling(self, blobs: bool) -> dict[str, Any]:
        """As ``siblings`` of a model show it."""
        shown: dict[str, Any] = {"rfilename": self.path}
        if blobs:
            shown |= {"size": self.size, "blobId": self.oid}
            if self.lfs:
                shown["lfs"] = {"sha256": self.sha256, **self._pointer()}
        return shown


def file(path: str, content: bytes | Path, *, lfs: bool | None = None) -> File:
    """A file with its hashes.

    Args:
        path: Path in the repository.
        content: Its bytes, or a file that holds them.
        lfs: Whether it is kept in LFS; None decides by name and size.
    """
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if lfs is None:
        lfs = path.lower().endswith(LFS_ENDINGS) or size > _LFS_SIZE
    sha256, oid = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size)
    if isinstance(content, bytes):
        sha256.update(content)
        oid.update(b"" if lfs else content)
    else:
        with content.open("rb") as opened:
            while piece := opened.read(_PIECE):
                sha256.update(piece)
                if not lfs:
                    oid.update(piece)
    digest = sha256.hexdigest()
    if lfs:
        pointer = _pointer(digest, size)
        oid = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer)
    return File(path, content, size, digest, oid.hexdigest(), lfs)


def _pointer(sha256: str, size: int) -> bytes:
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    ).encode()


@dataclass(frozen=True)
class Commit:
    """All files at one moment; its name follows from them."""

    files: Mapping[str, File]
    parent: str = ""

    @property
    def sha(self) -> str:
        text = "".join(f"{path} {each.sha256}\n" for path, each in sorted(self.files.items()))
        return hashlib.sha1(f"parent {self.parent}\n{text}".encode()).hexdigest()

    def tree(self, below: str = "", *, recursive: bool) -> list[dict[str, Any]]:
        """Files and folders below a folder, as ``/tree`` lists them."""
        folder = below.strip("/")
        entries: dict[str, dict[str, Any]] = {}
        for path, each in sorted(self.files.items()):
            if folder and not path.startswith(f"{folder}/"):
                continue
            parents = []
            parent = posixpath.dirname(path)
            while parent and parent != folder:
                parents.append(parent)
                parent = posixpath.dirname(parent)
            if recursive or not parents:
                entries[path] = each.in_tree()
            for parent in reversed(parents) if recursive else parents[-1:]:
                oid = hashlib.sha1(f"tree {parent}".encode()).hexdigest()
                entries[parent] = {"type": "directory", "oid": oid, "size": 0, "path": parent}
        return [entries[path] for path in sorted(entries)]


@dataclass
class Repository:
    """A model's repository.

    Attributes:
        gated: ``auto`` or ``manual``: only users it was given to may fetch its files; False: all.
        private: Only users it was given to see that it exists.
        readers: Users it was given to.
        info: What else the hub says about the model, such as ``gguf`` or ``pipeline_tag``.
    """

    name: str
    gated: str | bool = False
    private: bool = False
    license: str | None = None
    downloads: int = 0
    readers: set[str] = field(default_factory=set)
    info: dict[str, Any] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, File], branch: str = "main") -> str:
        """Put these files onto a branch in place of what it has; returns the commit."""
        made = Commit(dict(files), self.branches.get(branch, ""))
        self.commits[made.sha] = made
        self.branches[branch] = made.sha
        return made.sha

    def resolve(self, revision: str) -> Commit | None:
        """The commit that a branch, a tag or (the beginning of) a commit names."""
        sha = self.branches.get(revision) or self.tags.get(revision)
        if sha is None and len(revision) >= 7:
            sha = next((each for each in self.commits if each.startswith(revision)), None)
        return self.commits.get(sha or "")

    def describe(self, commit: Commit, *, blobs: bool, siblings: bool = True) -> dict[str, Any]:
        """As ``/api/models/NAME`` shows it."""
        owner, slash, _ = self.name.partition("/")
        ends = {path.rsplit(".", 1)[-1] for path in commit.files}
        tags = [each for each in ("gguf", "safetensors") if each in ends]
        if self.license:
            tags.append(f"license:{self.license}")
        shown: dict[str, Any] = {
            "_id": hashlib.sha1(self.name.encode()).hexdigest()[:24],
            "id": self.name,
            "modelId": self.name,
            "private": self.private,
            "tags": [*tags, *self.info.get("tags", ())],
            "downloads": self.downloads,
            "likes": 0,
            "sha": commit.sha,
            "lastModified": "2026-01-02T03:04:05.000Z",
            "createdAt": "2026-01-01T00:00:00.000Z",
            "gated": self.gated,
            "disabled": False,
            "usedStorage": sum(each.size for each in commit.files.values()),
        }
        if slash:
            shown["author"] = owner
        if self.license:
            shown["cardData"] = {"license": self.license}
        if siblings:
            files = sorted(commit.files.items())
            shown["siblings"] = [each.as_sibling(blobs) for _, each in files]
        return shown | {key: value for key, value in self.info.items() if key != "tags"}
