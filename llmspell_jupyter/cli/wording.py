"""Hints in the words of a terminal: what a notebook does by a magic, the command does by a verb."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence

# A hint that names both has the terminal's line behind the notebook's.
_BOTH = re.compile(r"%[a-z_]+(?: [^()\n]*?)? ?\(in a terminal: ([^)\n]*)\)")
_MODEL = re.compile(r"%model_(available|gc|info|list|load|lock|pull|remove|status|unload|verify)\b")
_OTHERS = (
    (re.compile(r"%llmspell_engine\b"), "jupyter llmspell engine"),
    (re.compile(r"%llmspell_status\b"), "jupyter llmspell engine status"),
    (re.compile(r"%llmspell_config\b"), "jupyter llmspell config show"),
    (re.compile(r"%pip\b"), "pip"),
)
# Options before the command: those that take a value, and those that choose what is loaded.
_CHOOSING = ("-p", "--profile", "-c", "--config")
_VALUED = (*_CHOOSING, "--output")
_PROFILE = re.compile(r"%llmspell_profile ([\w-]+)")


def in_terminal(text: str) -> str:
    """A hint that names magics, with the commands in their place."""
    text = _BOTH.sub(r"\1", text)
    text = _MODEL.sub(r"jupyter llmspell model \1", text)
    for magic, command in _OTHERS:
        text = magic.sub(command, text)
    return _PROFILE.sub(_with_profile, text)


def this_line() -> str:
    """The command that runs, as it was typed."""
    return f"jupyter llmspell {shlex.join(sys.argv[1:])}"


def _with_profile(match: re.Match[str]) -> str:
    words = ["-p", match[1], *_without_profile(sys.argv[1:])]
    return f"jupyter llmspell {shlex.join(words)}"


def _without_profile(words: Sequence[str]) -> Iterator[str]:
    """What was typed, without the profile or file that it named before the command."""
    rest = iter(words)
    for word in rest:
        if not word.startswith("-"):
            yield word
            break
        if word in _VALUED:
            value = next(rest, "")
            if word not in _CHOOSING:
                yield from (word, value)
        elif not word.startswith(_CHOOSING):
            yield word
    yield from rest
