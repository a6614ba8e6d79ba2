"""Hints in the words of a terminal: what a notebook does by a magic, the command does by a verb."""

from __future__ import annotations

import re
import shlex
import sys

# A hint that names both has the terminal's line behind the notebook's.
_BOTH = re.compile(r"%[a-z_]+(?: [^()\n]*?)? ?\(in a terminal: ([^)\n]*)\)")
_MODEL = re.compile(r"%model_(available|gc|info|list|load|lock|pull|remove|status|unload|verify)\b")
_OTHERS = (
    (re.compile(r"%llmspell_engine\b"), "jupyter llmspell engine"),
    (re.compile(r"%llmspell_status\b"), "jupyter llmspell engine status"),
    (re.compile(r"%llmspell_config\b"), "jupyter llmspell config show"),
    (re.compile(r"%pip\b"), "pip"),
)
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
    return f"jupyter llmspell -p {match[1]} {shlex.join(sys.argv[1:])}"
