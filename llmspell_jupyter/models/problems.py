"""Errors that say why a model's files cannot be used."""

from __future__ import annotations

from pathlib import Path

from llmspell_jupyter.errors import BadModelFile, UnsafeFormat


def bad_file(path: Path, cause: str) -> BadModelFile:
    """The error for a file or folder that is damaged."""
    return BadModelFile(
        f"{path.name} cannot be read as a model: {cause}.",
        hint="Fetch or copy the file again; %model_list shows the models that can be used.",
        data={"path": str(path), "cause": cause},
    )


def unsafe(path: Path, cause: str, hint: str) -> UnsafeFormat:
    """The error for a file or folder that could run code."""
    return UnsafeFormat(
        f"{path.name} is not loaded: {cause}.",
        hint=hint,
        data={"path": str(path), "cause": cause},
    )


def cannot_open(path: Path, error: OSError | ValueError) -> BadModelFile:
    """The error for a file or folder that the system does not give."""
    cause = getattr(error, "strerror", None) or str(error)
    return BadModelFile(
        f"{path} cannot be opened: {cause}.",
        hint="Check that it is there and that you may read it.",
        data={"path": str(path), "cause": cause},
    )
