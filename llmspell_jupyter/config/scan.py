"""A look at a TOML file before it is parsed: how deep it goes, and on which line each key stands.

The parser of the standard library tells no lines, takes a second for a key of ten thousand parts
and raises RecursionError on deep nesting. This reads the same file in one pass without recursion,
and says where a file leaves what a configuration can be.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field

#: Parts of a dotted key, and tables and lists inside one another.
MOST_PARTS = 6
MOST_NESTED = 8
#: Characters of a part of a key, and of a value without quotes.
LONGEST_WORD = 200
#: Parts of keys, and values, in a file.
MOST_ENTRIES = 3000

_BLANK = re.compile(r"[ \t]*+")
_BETWEEN = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_PART = re.compile(r'[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\[^\n])*+"|\'[^\'\n]*+\'')
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+"""(?:"{0,2})|\'\'\'(?:[^\']|\'(?!\'\'))*+\'\'\'(?:\'{0,2})'
    r'|"(?:[^"\\\n]|\\[^\n])*+"|\'[^\'\n]*+\'',
    re.DOTALL,
)
_BARE = re.compile(r"[^\s,\[\]{}#\"'=]++(?: [0-9][0-9:.Z+-]*+)?")
_LINE_END = re.compile(r"[ \t]*+(?:#[^\n]*+)?(?:\r?\n|\Z)")

Path = tuple[str, ...]


class Refused(Exception):
    """The file nests deeper, has a longer key or holds more than a configuration can."""

    def __init__(self, line: int, what: str):
        super().__init__(what)
        self.line = line
        self.what = what


class _Stop(Exception):
    """Here stands something that no TOML file has."""


@dataclass(slots=True)
class Scan:
    """What was seen.

    Attributes:
        lines: Line of each key and table, from 1; those inside lists are left out.
        end: How far the text looks like TOML, in characters; the parser need not see more.
    """

    lines: dict[Path, int] = field(default_factory=dict)
    end: int = 0

    def line(self, path: Path) -> int | None:
        """Line of a key; that of the table around it when the key itself has none."""
        for end in range(len(path), 0, -1):
            if found := self.lines.get(path[:end]):
                return found
        return None


def scan(text: str) -> Scan:
    """Look through a file.

    Raises:
        Refused: It cannot be a configuration.
    """
    scanner = _Scanner(text)
    try:
        scanner.run()
    except _Stop:
        # Up to the end of this line, so that the parser finds the same mistake.
        end = text.find("\n", scanner.at)
        limit = scanner.at + 200
        scanner.result.end = min(limit, len(text) if end < 0 else end)
    else:
        scanner.result.end = len(text)
    return scanner.result


def _word(part: str) -> str:
    """A part of a key without its quotes."""
    if part[0] not in "\"'":
        return part
    if part[0] == "'" or "\\" not in part:
        return part[1:-1]
    try:
        return str(tomllib.loads(f"word = {part}")["word"])
    except tomllib.TOMLDecodeError:
        raise _Stop from None


class _Scanner:
    def __init__(self, text: str):
        self.text = text
        self.at = 0
        self.result = Scan()
        self._line = 1
        self._counted = 0
        self._entries = 0

    def run(self) -> None:
        table: Path = ()
        while True:
            self._skip(_BETWEEN)
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                brackets = 2 if self.text.startswith("[[", self.at) else 1
                self.at += brackets
                table = self._key(())
                self._expect("]" * brackets)
            else:
                key = self._key(table)
                self._expect("=")
                self._value(key)
            if not self._skip(_LINE_END):
                raise _Stop

    def _key(self, before: Path, *, note: bool = True) -> Path:
        """Read a dotted key, and note its line."""
        path = before
        count = 0
        while True:
            self._enter()
            self._skip(_BLANK)
            match = _PART.match(self.text, self.at)
            if match is None:
                raise _Stop
            self._take(match)
            count += 1
            if count > MOST_PARTS:
                raise Refused(self._here(), f"a key of more than {MOST_PARTS} parts")
            part = match[0]
            path = (*path, _word(part))
            if note:
                self.result.lines.setdefault(path, self._here())
            self._skip(_BLANK)
            if not self.text.startswith(".", self.at):
                return path
            self.at += 1

    def _value(self, path: Path) -> None:
        """Pass over a value; ``open_`` holds what closes each list and table, and its path."""
        open_: list[tuple[str, Path]] = []
        while True:
            self._enter()
            self._skip(_BETWEEN if open_ else _BLANK)
            start = self.text[self.at : self.at + 1]
            if start in ("[", "{") and start:
                open_.append(("]" if start == "[" else "}", path))
                if len(open_) > MOST_NESTED:
                    raise Refused(self._here(), f"more than {MOST_NESTED} lists and tables nested")
                self.at += 1
            elif not self._skip(_STRING):
                if not (bare := _BARE.match(self.text, self.at)):
                    raise _Stop
                self._take(bare)
                start = ""
            else:
                start = ""
            if not (following := self._after(open_, opened=bool(start))):
                return
            path = following

    def _after(self, open_: list[tuple[str, Path]], *, opened: bool) -> Path:
        """Go on to the next value; the empty path when all is closed."""
        while open_:
            closing, around = open_[-1]
            self._skip(_BETWEEN)
            if not opened and self.text.startswith(",", self.at):
                self.at += 1
                self._skip(_BETWEEN)
                opened = True
            if self.text.startswith(closing, self.at):
                self.at += 1
                open_.pop()
                opened = False
                continue
            if not opened:
                raise _Stop
            if closing == "]":
                return around
            inside_list = any(each == "]" for each, _ in open_)
            path = self._key(around, note=not inside_list)
            self._expect("=")
            return path
        return ()

    def _enter(self) -> None:
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            raise Refused(self._here(), f"more than {MOST_ENTRIES:,} parts of keys and values")

    def _take(self, match: re.Match[str]) -> None:
        if match.end() - match.start() > LONGEST_WORD:
            raise Refused(self._here(), f"a word of more than {LONGEST_WORD} characters")
        self.at = match.end()

    def _skip(self, what: re.Pattern[str]) -> bool:
        match = what.match(self.text, self.at)
        if match is None:
            return False
        self.at = match.end()
        return True

    def _expect(self, what: str) -> None:
        self._skip(_BLANK)
        if not self.text.startswith(what, self.at):
            raise _Stop
        self.at += len(what)

    def _here(self) -> int:
        """The line at which the scan is; counted in steps, so that all of it is one pass."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line
