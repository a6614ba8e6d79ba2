"""What all commands share: options, the engine, errors in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from llmspell_jupyter.cli.wording import in_terminal
from llmspell_jupyter.config import administrator, loading
from llmspell_jupyter.config.escaping import printable_lines
from llmspell_jupyter.config.loaded import Loaded
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.errors import Interrupted, LLMSpellError

_T = TypeVar("_T")

# What shells give a program that Ctrl-C ended.
_STOPPED = 130
_LONGEST_TEXT = 20_000


@dataclass(frozen=True, slots=True)
class Options:
    """The options before the command."""

    profile: str | None
    config_file: str | None
    output: str

    def load(self) -> Loaded:
        """The configuration that they ask for."""
        return loading.load(self.profile, self.config_file, admin=administrator.policy())

    def say(self, text: str, facts: Any) -> None:
        """Print text, or the same as JSON where JSON was asked for."""
        if self.output == "text":
            click.echo(text)
        else:
            indent = 2 if self.output == "pretty" else None
            click.echo(json.dumps(facts, indent=indent, ensure_ascii=False))


def with_client(use: Callable[[EngineClient], _T]) -> _T:
    """What ``use`` gives, with a client that is closed afterwards."""
    client = EngineClient()
    try:
        return use(client)
    finally:
        client.close()


@contextmanager
def plain_errors() -> Iterator[None]:
    """Print an error of this package as one message, and end with 1, or 130 after Ctrl-C."""
    try:
        yield
    except LLMSpellError as error:
        texts = [f"{type(error).__name__}: {in_terminal(error.message)}", in_terminal(error.hint)]
        # What a model or a server says is in here, too.
        lines = [printable_lines(each, _LONGEST_TEXT) for each in texts if each]
        click.echo("\n".join(lines), err=True)
        sys.exit(_STOPPED if isinstance(error, Interrupted) else 1)
