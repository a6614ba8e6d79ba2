"""Names that servers and users give, as names of files that never leave their folder."""

from __future__ import annotations

import re
from pathlib import Path

from llmspell_jupyter.errors import InvalidModelSpec

#: Begins an address of the hub, which is not part of a repository's name.
HUB = re.compile(r"(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/", re.IGNORECASE)

# As the hub's own library has it: a name begins and ends with a letter, a digit or "_".
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})?")
_COMMIT = re.compile(r"[0-9a-fA-F]{40}")

_LONGEST_PART = 255
_LONGEST_NAME = 1024
# Devices on Windows, whatever follows behind a dot.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\..*)?", re.IGNORECASE)

_FOLDER = "models--"


def is_repository(text: str) -> bool:
    """Whether a text can be a repository of the hub: ``owner/name``, or ``name`` of old ones."""
    return (
        _REPOSITORY.fullmatch(text) is not None
        and "--" not in text
        and ".." not in text
        and not text.lower().endswith(".git")
    )


def repository_folder(repository: str) -> str:
    """The folder of a repository in a store: ``models--owner--name``, as the hub's library has it.

    Raises:
        InvalidModelSpec: The text is not the name of a repository.
    """
    if not is_repository(repository):
        raise InvalidModelSpec(
            f"{shown(repository)} is not the name of a repository.",
            hint="Write owner/name, such as Qwen/Qwen3-0.6B-GGUF",
            data={"repository": repository[:_LONGEST_PART]},
        )
    return _FOLDER + repository.replace("/", "--")


def repository_of(folder: str) -> str | None:
    """The repository that a folder of a store holds, None when it is another kind of folder.

    It undoes ``repository_folder``.
    """
    repository = folder.removeprefix(_FOLDER).replace("--", "/")
    whole = folder.startswith(_FOLDER) and "/" not in folder and is_repository(repository)
    return repository if whole else None


def commit(text: str) -> str:
    """A commit of a repository, in lower case.

    Raises:
        InvalidModelSpec: The text is not 40 hexadecimal digits.
    """
    if not is_commit(text):
        raise InvalidModelSpec(
            f"{shown(text)} is not a commit.",
            hint="A commit is 40 hexadecimal digits.",
            data={"commit": text[:_LONGEST_PART]},
        )
    return text.lower()


def is_commit(text: str) -> bool:
    """Whether a text is a commit's 40 hexadecimal digits."""
    return _COMMIT.fullmatch(text) is not None


def file_in(folder: Path, name: str) -> Path:
    """Where a file belongs that a server or a user names, below a folder.

    It serves files of a snapshot, blobs and references alike.

    Args:
        folder: The folder; it need not exist, and may be reached through a link.
        name: The file's name, with ``/`` between its parts.

    Raises:
        InvalidModelSpec: The name could lead out of the folder, here or on another system, or a
            link below the folder stands in its way.
    """
    problem = problem_of_file(name)
    parts = name.split("/")
    if problem is None:
        path = folder
        for part in parts[:-1]:
            path = path / part
            if path.is_symlink():
                problem = f"{part!r} is a link there"
                break
    if problem is not None:
        raise InvalidModelSpec(
            f"A file named {shown(name)} is not kept: {problem}.",
            hint="Take another repository of the model; this one is damaged or means harm.",
            data={"file": ascii(name[:_LONGEST_PART])[1:-1]},
        )
    return folder.joinpath(*parts)


def problem_of_file(name: str) -> str | None:
    """Why a file's name is not safe everywhere, None when it is."""
    if not name.isprintable():
        return "it holds characters that cannot be shown"
    if any(character in name for character in '\\:*?"<>|'):
        return "it holds characters that some systems do not allow"
    if len(name.encode()) > _LONGEST_NAME:
        return "it is too long"
    return next(filter(None, map(_problem_of_part, name.split("/"))), None)


def shown(text: str, most: int = 80) -> str:
    """A text in quotes on one line, cut when it is long."""
    return repr(text if len(text) <= most else text[: most - 3] + "...")


def _problem_of_part(part: str) -> str | None:
    if not part.strip(". "):
        return "it leads to another folder"
    if part != part.strip(" ") or part.endswith("."):
        return "some systems read it as another name"
    if _DEVICES.fullmatch(part):
        return "some systems read it as a device"
    if len(part.encode()) > _LONGEST_PART:
        return "it is too long"
    return None
