"""Grammars in GBNF, looked at before llama.cpp sees them.

llama.cpp says what is wrong with a grammar on standard error only, ends the process over deep
ones and takes forever with ambiguous ones.
"""

from __future__ import annotations

from llmspell_jupyter.engine.backends._llama.gbnf_rules import (
    CHARACTER,
    MOST_ITEMS,
    Items,
    Rules,
    check_left_recursion,
    check_ways,
    wrong,
)
from llmspell_jupyter.errors import RequestError

_MOST_BYTES = 100_000
_DEEPEST = 50
_MOST_REPETITIONS = 1_000

_HEX = {"x": 2, "u": 4, "U": 8}
_ESCAPES = frozenset('trn\\"[]-')


def check(text: str) -> None:
    """Check a grammar.

    Raises:
        RequestError: It is wrong, too large, left-recursive or too ambiguous; the message names
            the line or the rule.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise wrong("it has half a character (a lone surrogate)") from None
    if size > _MOST_BYTES:
        raise wrong(f"it has {size:,} bytes; {_MOST_BYTES:,} are the most")
    if "\0" in text:
        raise wrong("it has a NUL character; write \\x00")
    rules = _Parser(text).parse()
    check_left_recursion(rules)
    check_ways(rules)


class _Parser:
    def __init__(self, text: str):
        self._text = text
        self._at = 0
        self._rules = Rules()
        self._used: dict[str, int] = {}

    def parse(self) -> Rules:
        self._skip(lines=True)
        while self._at < len(self._text):
            self._rule()
        for name, at in self._used.items():
            if name not in self._rules.alternatives:
                raise self._error(f"there is no rule {name!r}", at)
        if "root" not in self._rules.alternatives:
            raise wrong("it has no rule 'root'")
        return self._rules

    def _rule(self) -> None:
        name = self._name()
        self._skip()
        self._expect("::=")
        self._skip(lines=True)
        self._rules.add(self._alternatives(0), name)
        if self._at < len(self._text) and self._text[self._at] not in "\r\n":
            raise self._error(f"{self._text[self._at]!r} is not expected here")
        self._skip(lines=True)

    def _alternatives(self, depth: int) -> list[Items]:
        if depth > _DEEPEST:
            raise self._error(f"more than {_DEEPEST} parentheses in one another")
        found = [self._sequence(depth)]
        while self._peek() == "|":
            self._at += 1
            self._skip(lines=True)
            found.append(self._sequence(depth))
        return found

    def _sequence(self, depth: int) -> Items:
        items: list[str] = []
        last: Items | None = None
        while (sign := self._peek()) and sign not in "|)\r\n":
            if sign in "*+?{":
                if last is None:
                    raise self._error(f"nothing stands before {sign!r}")
                del items[len(items) - len(last) :]
                last = self._repeated(last, *self._bounds())
            else:
                last = self._symbol(sign, depth)
            items += last
            if len(items) > MOST_ITEMS:
                raise self._error("too many characters in one rule")
            self._skip(lines=depth > 0)
        return tuple(items)

    def _symbol(self, sign: str, depth: int) -> Items:
        if sign == '"':
            return self._literal()
        if sign == "[":
            self._class()
            return (CHARACTER,)
        if sign == ".":
            self._at += 1
            return (CHARACTER,)
        if sign == "(":
            self._at += 1
            self._skip(lines=True)
            name = self._rules.add(self._alternatives(depth + 1))
            self._expect(")")
            return (name,)
        if sign in "<!":
            raise self._error("tokens in angle brackets are not supported; write their text")
        at = self._at
        name = self._name()
        self._used.setdefault(name, at)
        return (name,)

    def _literal(self) -> Items:
        self._at += 1
        count = 0
        while self._peek() != '"':
            self._character()
            count += 1
        self._at += 1
        return (CHARACTER,) * count

    def _class(self) -> None:
        self._at += 1
        if self._peek() == "^":
            self._at += 1
        count = 0
        while self._peek() != "]":
            self._character()
            count += 1
            if self._text[self._at : self._at + 1] == "-" and (
                self._text[self._at + 1 : self._at + 2] != "]"
            ):
                self._at += 1
                self._character()
        if not count:
            raise self._error("an empty character class")
        self._at += 1

    def _character(self) -> None:
        sign = self._take()
        if sign != "\\":
            return
        escape = self._take()
        if escape in _HEX:
            digits = "".join(self._take() for _ in range(_HEX[escape]))
            if not all(digit in "0123456789abcdefABCDEF" for digit in digits):
                raise self._error(f"\\{escape} wants {_HEX[escape]} hexadecimal digits")
        elif escape not in _ESCAPES:
            raise self._error(f"unknown escape \\{escape}")

    def _bounds(self) -> tuple[int, int | None]:
        sign = self._take()
        if sign != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        self._skip()
        least = self._number()
        most: int | None = least
        if self._peek() == ",":
            self._at += 1
            self._skip()
            most = None if self._peek() == "}" else self._number()
        self._expect("}")
        if least > (_MOST_REPETITIONS if most is None else most):
            raise self._error(f"a repetition of at least {least} and at most {most}")
        return least, most

    def _number(self) -> int:
        begin = self._at
        while self._peek() in set("0123456789"):
            self._at += 1
        digits = self._text[begin : self._at]
        if not digits:
            raise self._error("a number is expected here")
        if len(digits) > 9 or int(digits) > _MOST_REPETITIONS:
            raise self._error(f"more than {_MOST_REPETITIONS:,} repetitions")
        self._skip()
        return int(digits)

    def _repeated(self, what: Items, least: int, most: int | None) -> Items:
        if len(what) * max(least, 1) > MOST_ITEMS:
            raise self._error("too many repetitions")
        if most is None:
            name = f"#{len(self._rules.alternatives)}"
            self._rules.loops.add(name)
            self._rules.add([(*what, name), ()], name)
            return what * least + (name,)
        rest: Items = ()
        for _ in range(most - least):
            rest = (self._rules.add([what + rest, ()]),)
        return what * least + rest

    def _name(self) -> str:
        begin = self._at
        while (sign := self._peek()) and sign.isascii() and (sign.isalnum() or sign == "-"):
            self._at += 1
        if begin == self._at:
            raise self._error("a name is expected here")
        return self._text[begin : self._at]

    def _skip(self, *, lines: bool = False) -> None:
        while (sign := self._peek()) in {" ", "\t", "#"} or (lines and sign in {"\r", "\n"}):
            if sign == "#":
                while self._peek() not in {"", "\r", "\n"}:
                    self._at += 1
            else:
                self._at += 1

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        if self._at == len(self._text):
            raise self._error("it ends too early")
        self._at += 1
        return self._text[self._at - 1]

    def _expect(self, what: str) -> None:
        if not self._text.startswith(what, self._at):
            raise self._error(f"{what!r} is expected here")
        self._at += len(what)

    def _error(self, cause: str, at: int | None = None) -> RequestError:
        line = self._text.count("\n", 0, self._at if at is None else at) + 1
        return wrong(f"line {line}: {cause}")
