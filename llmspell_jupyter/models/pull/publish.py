"""Putting verified files into a store that is laid out as the Hugging Face cache.

``blobs/HASH`` are the bytes, ``snapshots/COMMIT/PATH`` relative links to them, ``refs/NAME`` the
commit that a branch or tag was at. Each step replaces something at once, so a kill between any
two leaves a sound store: blobs first, then the snapshot, a new one as a whole, names last.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmspell_jupyter.errors import BadModelFile, PullError
from llmspell_jupyter.models import (
    gguf_names,
    gguf_reader,
    inspect,
    safetensors,
    shared_blobs,
    spec,
)
from llmspell_jupyter.models.pull import claim, partial
from llmspell_jupyter.models.pull.pace import PACE
from llmspell_jupyter.models.store import hub_cache

if TYPE_CHECKING:
    from llmspell_jupyter.models.hub import Plan, RemoteFile

_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_STAGED = "snapshot-"


class Place:
    """Where the files of a plan belong in one store.

    Args:
        cache: The store; it may be reached through a link.
        plan: What belongs there.

    Raises:
        InvalidModelSpec: A name could lead elsewhere.
        PullError: A file has no hash by which it could be kept.
    """

    def __init__(self, cache: Path, plan: Plan):
        self.plan = plan
        self.cache = cache
        self.root = spec.file_in(cache, spec.repository_folder(plan.repository))
        self.snapshot = self.root / "snapshots" / spec.commit(plan.commit)
        self.partials = self.root / partial.FOLDER
        self._stage = self.partials / f"{_STAGED}{secrets.token_hex(4)}{partial.SUFFIX}"
        for file in plan.files:
            if not _BLOB.fullmatch(file.blob):
                raise PullError(
                    f"{file.path} has no hash on the hub; it could not be checked.",
                    hint="Take another repository of the model.",
                )
            spec.file_in(self.snapshot, file.path)
        if plan.ref is not None:
            spec.file_in(self.root / "refs", plan.ref)

    def pointer(self, file: RemoteFile) -> Path:
        """The file in the snapshot."""
        return spec.file_in(self.snapshot, file.path)

    def blob(self, file: RemoteFile) -> Path:
        """Where its bytes are kept."""
        return self.root / "blobs" / file.blob

    def has_blob(self, file: RemoteFile) -> bool:
        """Whether its bytes are there, as many as they should be."""
        return _size(self.blob(file)) == file.size

    def has(self, file: RemoteFile) -> bool:
        """Whether the snapshot shows it, with as many bytes as it should have."""
        return _size(self.pointer(file)) == file.size

    def complete(self) -> bool:
        """Whether the snapshot shows all files."""
        return all(map(self.has, self.plan.files))

    def make_folders(self) -> None:
        """Make what is missing of the folders, and see that none leads elsewhere.

        Raises:
            PullError: A link stands in the way.
        """
        for folder in (self.root, *map(self.root.joinpath, ("blobs", "snapshots", "refs"))):
            self._no_link(folder)
        self._no_link(self.snapshot)
        self._no_link(self.partials)
        self.partials.mkdir(parents=True, exist_ok=True)

    def remove_folders(self) -> None:
        """Remove those that are empty."""
        for folder in (self.partials, self.root):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def publish(self, verified: list[tuple[RemoteFile, Path]]) -> None:
        """Show the plan's files to the world.

        Args:
            verified: Files whose bytes are not in the store yet, and where they are.
        """
        with self._staging():
            if verified:
                mode = 0o666 & ~self._umask()
                (self.root / "blobs").mkdir(exist_ok=True)
                for file, path in verified:
                    path.chmod(mode)
                    self._keep(path, self.blob(file))
            self._show_snapshot()
            self._show_ref()

    def name(self) -> None:
        """Let the plan's branch or tag stand for its snapshot, all of which is there."""
        with self._staging():
            self._show_ref()

    def sweep(self) -> None:
        """Remove what earlier pulls of this repository left and nobody will use."""
        with contextlib.suppress(OSError):
            for path in [*self.partials.glob(f"{_STAGED}*")]:
                if claim.SUFFIX not in path.name and not claim.is_alive(path):
                    _discard(path)
        partial.sweep(self.partials, {file.path: file.blob for file in self.plan.files})

    @contextmanager
    def _staging(self) -> Iterator[None]:
        """Tells those who sweep that what is staged here is of use."""
        self.make_folders()
        mine = claim.Claim(self._stage, silent_seconds=PACE.silent_seconds)
        mine.take()
        try:
            yield
        finally:
            mine.release()

    def _staged(self) -> Path:
        """A new name for what is not to be seen before it is whole."""
        return self._stage.with_suffix(f".{secrets.token_hex(4)}")

    def _no_link(self, folder: Path) -> None:
        if folder.is_symlink():
            raise PullError(
                f"{folder} is a link; nothing is written through it.",
                hint="Put a folder in its place; the whole cache may be a link, HF_HUB_CACHE.",
                data={"path": str(folder)},
            )

    def _keep(self, path: Path, blob: Path) -> None:
        shared = shared_blobs.behind(blob)
        path.replace(blob)
        partial.remove(path)
        if shared is not None:
            shared_blobs.sweep(shared)

    def _show_snapshot(self) -> None:
        if self.snapshot.is_dir():
            # What a model is recognised by comes last.
            for file in sorted(self.plan.files, key=_recognised_by):
                self._link(self.snapshot, file, replace=True)
            return
        # As deep in the repository's folder as where it will be: its links are relative.
        staged = self._staged()
        staged.mkdir()
        try:
            for file in self.plan.files:
                self._link(staged, file, replace=False)
            self.snapshot.parent.mkdir(exist_ok=True)
            try:
                staged.rename(self.snapshot)
            except OSError:
                if not self.snapshot.is_dir():
                    raise
                self._show_snapshot()  # Another pull was first.
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _link(self, snapshot: Path, file: RemoteFile, *, replace: bool) -> None:
        path = spec.file_in(snapshot, file.path)
        # Who has no blob, as a copy of a store with its links followed, has the file itself.
        if replace and (_same(path, self.blob(file)) or not self.has_blob(file)):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (2 + file.path.count("/"))
        fresh = self._staged() if replace else path
        try:
            fresh.symlink_to(f"{up}blobs/{file.blob}")
        except (OSError, NotImplementedError):
            # No links on this system, or none for this user.
            try:
                os.link(self.blob(file), fresh)
            except OSError:
                shutil.copyfile(self.blob(file), fresh)
        if fresh != path:
            fresh.replace(path)

    def _show_ref(self) -> None:
        """Name the revision, and let the model's name stand for it: what is pulled is used."""
        if self.plan.ref is not None and not spec.is_commit(self.plan.ref):
            self._write_ref(self.plan.ref)
        if self.plan.ref == hub_cache.MAIN:
            (self.root / "refs" / hub_cache.CHOSEN).unlink(missing_ok=True)
        elif hub_cache.snapshots(self.root)[0].commit != self.snapshot.name:
            self._write_ref(hub_cache.CHOSEN)

    def _write_ref(self, name: str) -> None:
        path = spec.file_in(self.root / "refs", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            if path.read_text("utf-8") == self.snapshot.name:
                return
        fresh = self._staged()
        fresh.write_text(self.snapshot.name, encoding="utf-8")
        fresh.replace(path)

    def _umask(self) -> int:
        """The process's mask, read without changing it for a moment under other threads."""
        path = self._staged()
        disk = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            return 0o666 & ~os.fstat(disk).st_mode
        finally:
            os.close(disk)
            path.unlink()


def check_header(file: RemoteFile, path: Path) -> None:
    """Whether a weights file can be one at all, before anybody sees it.

    Raises:
        BadModelFile: It was published damaged; the message says what is wrong.
    """
    part = gguf_names.part(file.path)
    try:
        if part is not None and part.number > 1:
            # Later parts say nothing about the model.
            gguf_reader.walk(path, keep=frozenset())
        elif gguf_names.is_gguf(file.path):
            inspect.read_gguf(path)
        elif file.path.lower().endswith(".safetensors"):
            safetensors.read_shard(path)
    except BadModelFile as error:
        cause = str(error.data.get("cause") or error.message)
        raise type(error)(
            f"{file.path} was published damaged: {cause}.",
            hint="Nothing of it was kept; take another repository of the model.",
            data={"file": file.path, "cause": cause},
        ) from None


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _same(path: Path, blob: Path) -> bool:
    try:
        return path.samefile(blob)
    except OSError:
        return False


def _recognised_by(file: RemoteFile) -> tuple[bool, str]:
    name = file.path.lower()
    return name.endswith(("config.json", ".gguf", ".index.json")), name
