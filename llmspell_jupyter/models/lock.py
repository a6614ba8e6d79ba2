"""The lock file: which models a notebook used, byte for byte.

JSON with sorted keys and without dates, so that the same models give the same bytes::

    {"format": 1,
     "models": {SPEC: {"files": {PATH: {"sha256": ..., "size_bytes": ...}}, "format": ...,
                       "quantization": ..., "repository": ..., "revision": ...,
                       "template_sha256": ...}},
     "versions": {PACKAGE: VERSION}}

Somebody else may have written it: nothing in it is trusted before it is checked.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from llmspell_jupyter.errors import LLMSpellError, LockDiffers, ModelNotFound, PullError
from llmspell_jupyter.models import locked_files, spec, store
from llmspell_jupyter.models.locked_files import LockedFile
from llmspell_jupyter.types import Lookup

#: Name of the file beside a notebook.
NAME = "llmspell.lock"

_DIFFERS = "Restore what can be fetched: %model_pull --locked, or lock what is here: %model_lock"
_FETCHED = "All that can be fetched was fetched. To lock what is here instead, type: %model_lock"

_FORMAT = 1
_LARGEST = 16 * 1024 * 1024
_ENGINE = "llmspell-jupyter"
_LIBRARIES = ("ctranslate2", "llama-cpp-python", "tokenizers", "torch", "transformers")


@dataclass(frozen=True, slots=True)
class Locked:
    """A model as the file has it.

    Attributes:
        spec: Its id as listings show it; below the folder of the file a path that begins with
            ``./``.
        format: As in ``ModelInfo``.
        files: All that it needs, sorted by path.
        quantization: As in ``ModelInfo``.
        repository: Where it can be fetched, ``owner/name``; None when it cannot.
        revision: The repository's commit.
        template_sha256: Of the text of its chat template; None when it has none.
    """

    spec: str
    format: str
    files: tuple[LockedFile, ...]
    quantization: str | None = None
    repository: str | None = None
    revision: str | None = None
    template_sha256: str | None = None

    @property
    def hashes(self) -> tuple[tuple[str, str], ...]:
        """Path and SHA-256 of every file."""
        return tuple((each.path, each.sha256) for each in self.files)

    @property
    def to_pull(self) -> str:
        """What to pull to have it.

        Raises:
            PullError: It came from no repository.
        """
        if self.repository is None:
            raise PullError(
                f"{self.spec} came from no repository, so it cannot be fetched.",
                hint="Put its files where they were; %model_lock --check says what is missing.",
                data={"model": self.spec},
            )
        # By its file: what a header says of the quantisation need not be what the file is called.
        one = f":{self.files[0].path}" if self.format == "GGUF" and self.files else ""
        return f"hf.co/{self.repository}{one}@candle"


@dataclass(frozen=True, slots=True)
class Lock:
    """What a lock file says.

    Attributes:
        models: Sorted by spec.
        versions: Of this package and of the libraries that run models, by name.
    """

    models: tuple[Locked, ...]
    versions: Mapping[str, str]

    def text(self) -> str:
        """The file's content."""
        models = {each.spec: _model_to_json(each) for each in self.models}
        value = {"format": _FORMAT, "models": models, "versions": dict(self.versions)}
        return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    def write(self, file: Path) -> None:
        """Replace a file by this, as a whole or not at all.

        Raises:
            LLMSpellError: It cannot be written.
        """
        try:
            handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as target:
                    target.write(self.text())
                # As any file that a user makes: a lock is there to be shared.
                Path(name).chmod(0o644)
                Path(name).replace(file)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise LLMSpellError(f"{file} cannot be written: {error.strerror or error}.") from None

    def chosen(self, names: Sequence[str] = ()) -> list[Locked]:
        """The models of these names; all without any.

        Raises:
            InvalidModelSpec: A name does not follow the grammar.
            ModelNotFound: The file has no such model.
        """
        return [self._one(each) for each in names] if names else list(self.models)

    def check(
        self, names: Sequence[str], folder: Path, lookup: Lookup, *, fetched: bool = False
    ) -> list[str]:
        """Compare with the models of this machine; every byte of them is read.

        Args:
            names: Models; all without any.
            folder: Where the lock file lies.
            lookup: Where to look for them.
            fetched: What can be fetched of them has just been; no hint asks for it again.

        Returns:
            Notes on what is another version here, which need not matter.

        Raises:
            LockDiffers: A model is another, or not here; the error names each difference.
        """
        found = [line for each in self.chosen(names) for line in _differences(each, folder, lookup)]
        if found:
            what = "One thing differs" if len(found) == 1 else f"{len(found)} things differ"
            raise LockDiffers(
                f"{what} from {NAME}:\n" + "\n".join(f"  {line}" for line in found),
                hint=_FETCHED if fetched else _DIFFERS,
                data={"differences": found},
            )
        return list(self._notes())

    def _one(self, name: str) -> Locked:
        typed = name.strip()
        wanted = (typed if spec.is_path(typed) else spec.parse(typed).id).lower()
        fitting = [each for each in self.models if each.spec.lower() == wanted]
        fitting = fitting or [
            each
            for each in self.models
            if not spec.is_path(each.spec) and spec.parse(each.spec).name.lower() == wanted
        ]
        if len(fitting) != 1:
            known = ", ".join(each.spec for each in self.models) or "none"
            raise ModelNotFound(
                f"{NAME} has {'several models' if fitting else 'no model'} of the name {name!r}.",
                hint=f"It has: {known}.",
                data={"model": name},
            )
        return fitting[0]

    def _notes(self) -> Iterator[str]:
        here = versions()
        for package in sorted({*here, *self.versions}):
            locked, own = self.versions.get(package), here.get(package)
            if locked != own:
                was, now = (each or "not installed" for each in (locked, own))
                yield f"{package}: locked with {was}, here {now}"


def of(names: Sequence[str], folder: Path, lookup: Lookup) -> Lock:
    """The lock of these models; every byte of them is read.

    Args:
        names: As ``store.resolve`` takes them.
        folder: Where the lock file will lie; paths below it are written from there.
        lookup: Where to look for them.

    Raises:
        LLMSpellError: A model is not on this machine, or cannot be read.
    """
    made = {each.spec: each for each in (_locked(name, folder, lookup) for name in names)}
    return Lock(tuple(made[key] for key in sorted(made)), versions())


def read(file: Path) -> Lock:
    """What a lock file says.

    Raises:
        ModelNotFound: There is none.
        LLMSpellError: It is damaged, or of another format.
    """
    try:
        with file.open("rb") as source:
            data = source.read(_LARGEST + 1)
    except FileNotFoundError:
        raise ModelNotFound(
            f"There is no {file.name} in {file.parent}.",
            hint="Write one: %model_lock (in a terminal: jupyter llmspell model lock)",
        ) from None
    except OSError as error:
        raise LLMSpellError(f"{file} cannot be read: {error.strerror or error}.") from None
    try:
        if len(data) > _LARGEST:
            raise ValueError(f"it is longer than {_LARGEST:,} bytes")
        value = json.loads(data)
        if value["format"] != _FORMAT:
            raise ValueError(f"its format is {value['format']!r:.20}, and {_FORMAT} is known")
        models = tuple(_model_from_json(*each) for each in sorted(value["models"].items()))
        found = {str(name): str(each) for name, each in value["versions"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise LLMSpellError(
            f"{file} is no lock file: {why[:200]}.", hint="Write it anew: %model_lock"
        ) from None
    return Lock(models, found)


def versions() -> dict[str, str]:
    """Versions of this package and of the libraries that are installed to run models."""
    found = {}
    for package in (_ENGINE, *_LIBRARIES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _locked(name: str, folder: Path, lookup: Lookup) -> Locked:
    info = store.resolve(name, lookup)
    shown = info.id
    if spec.is_path(shown) and Path(shown).is_relative_to(folder.absolute()):
        shown = f"./{Path(shown).relative_to(folder.absolute()).as_posix()}"
    # A commit that the repository does not vouch for cannot be asked for.
    known = info.repository is not None and info.revision is not None
    return Locked(
        shown,
        info.format,
        locked_files.of(info),
        info.quantization,
        info.repository if known else None,
        info.revision if known else None,
        locked_files.template_sha256(info),
    )


def _differences(locked: Locked, folder: Path, lookup: Lookup) -> Iterator[str]:
    path = spec.is_path(locked.spec)
    # Not an absolute path of the machine on which the file was written, unless it says so.
    name = str((folder / locked.spec).absolute()) if path else locked.spec
    try:
        here = _locked(name, folder, lookup)
    except LLMSpellError as error:
        yield f"{locked.spec}: {error.message}"
        return
    for what in ("repository", "revision", "format", "quantization"):
        was, now = getattr(locked, what), getattr(here, what)
        if was != now:
            word = "commit" if what == "revision" else what
            yield f"{locked.spec}: {word} {was or 'none'} is locked, {now or 'none'} is here"
    found = {each.path: each for each in here.files}
    for file in locked.files:
        now = found.pop(file.path, None)
        if now is None:
            yield f"{locked.spec}: {file.path} is missing"
        elif now.sha256 != file.sha256:
            yield (
                f"{locked.spec}: {file.path} has sha256 {now.sha256} ({now.size_bytes:,} bytes), "
                f"and {file.sha256} ({file.size_bytes:,} bytes) is locked"
            )
    for name in found:
        yield f"{locked.spec}: {name} is here and not locked"
    if locked.template_sha256 != here.template_sha256:
        was, now = (each.template_sha256 or "none" for each in (locked, here))
        yield f"{locked.spec}: chat template {was} is locked, {now} is here"


def _model_to_json(model: Locked) -> dict[str, Any]:
    files = {
        each.path: {"sha256": each.sha256, "size_bytes": each.size_bytes} for each in model.files
    }
    names = ("format", "quantization", "repository", "revision", "template_sha256")
    facts = {name: getattr(model, name) for name in names}
    return {"files": files} | {name: value for name, value in facts.items() if value is not None}


def _model_from_json(name: str, value: Mapping[str, Any]) -> Locked:
    repository, revision = (value.get(key) for key in ("repository", "revision"))
    if not spec.is_path(name):
        spec.parse(name)
    if repository is not None:
        locked_files.check_repository(repository, revision)
    return Locked(
        name,
        _text(value["format"]),
        tuple(locked_files.from_json(*each) for each in sorted(value["files"].items())),
        *(
            None if value.get(key) is None else _text(value[key])
            for key in ("quantization", "repository", "revision", "template_sha256")
        ),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is no text")
    return value
