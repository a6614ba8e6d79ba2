"""The words of a magic's line, and what they mean."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

from IPython.core.error import UsageError

# Only around a word, or around the value of an option: a name may have an apostrophe in it.
_WORD = re.compile(r"""\s*(?:(?P<option>-[\w-]*=?)?(?:"([^"]*)"|'([^']*)')(?!\S)|(?P<bare>\S+))""")
_OPEN = re.compile(r"""(?:-[\w-]*=?)?["']""")


def parsed(magic: Any, line: str) -> Namespace:
    """The arguments of a magic; quotes around them are taken off.

    IPython's own ``parse_argstring`` leaves them on. Backslashes are what they are, as paths of
    Windows have them.

    Args:
        magic: Decorated with ``magic_arguments``.
        line: What follows its name.

    Raises:
        UsageError: The line is not as the magic's help says.
    """
    arguments: Namespace = magic.parser.parse_args(list(_words(line.rstrip())))
    return arguments


def _words(line: str) -> Iterator[str]:
    for found in _WORD.finditer(line):
        option, double, single, bare = found.groups()
        if bare is None:
            yield (option or "") + (single if double is None else double)
        elif _OPEN.match(bare):
            raise UsageError(f"A quotation mark is not closed, or within a word: {bare}")
        else:
            yield bare
