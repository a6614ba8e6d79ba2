"""The border between Python and Lua: only byte strings cross it.

``border.lua`` is the other half. A value is one tag byte and its content, little-endian:

    n                nil                 t, f             true, false
    i int64          integer             d float64        float
    s u32 bytes      string              l u32 values     array, nils in their places
    m u32 pairs      other table         c int64          Lua function, by index
    o int64          host object, by id; towards Lua followed by class name and table of fields

A message is ``u8 length, kind``, ``u32 length, ids no longer used`` and one ``l`` of values.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from llmspell_jupyter.errors import ScriptError

#: Levels of tables inside tables that may cross.
MAX_DEPTH: Final = 100

_INT = struct.Struct("<q")
_FLOAT = struct.Struct("<d")
_SIZE = struct.Struct("<I")
_RELEASE = struct.Struct("<qq")


class BorderError(ValueError):
    """Bytes that are not a message; a mistake in this package, never in a script."""


class HostObject:
    """A Python object that scripts hold by a handle: a Lua table with its fields and methods.

    Subclasses name their class in ``lua_class``; the names of its methods are given to
    ``LuaSession``, and a method call reaches ``Host.call("Class:method", [object, ...])``.
    The object lives at least as long as a script can reach its handle.
    """

    lua_class: ClassVar[str]

    def lua_fields(self) -> Mapping[str, Any]:
        """Plain values that the handle shows as fields, copied whenever the object crosses."""
        return {}


class Message(NamedTuple):
    """A message from Lua.

    Attributes:
        released: ``(id, times)`` pairs: a host object that was let go of after it had been
            received so many times, or a waiting call when ``times`` is 0.
    """

    kind: str
    released: list[tuple[int, int]]
    values: list[Any]


class Callback:
    """A Lua function in Python's hands; a host has it run by yielding an ``Ask``."""

    __slots__ = ("_dropped", "index")

    def __init__(self, index: int, dropped: deque[int]):
        self.index = index
        self._dropped = dropped

    def __del__(self) -> None:
        self._dropped.append(self.index)

    def __repr__(self) -> str:
        return "function"


class Border:
    """Encodes and decodes messages of one Lua state and keeps what they refer to.

    Used on the thread of that state only; ``Callback`` objects may end on any thread.

    Args:
        classes: Names of the host object classes that the Lua side knows.
    """

    def __init__(self, classes: Sequence[str] = ()):
        self._classes = frozenset(classes)
        self._dropped: deque[int] = deque()
        self._objects: dict[int, HostObject] = {}
        self._ids: dict[int, int] = {}
        self._uses: dict[int, int] = {}
        self._sent: list[int] = []
        self._last_id = 0

    @property
    def objects(self) -> int:
        """Host objects that the script may still reach."""
        return len(self._objects)

    def encode(self, kind: str, values: Sequence[Any]) -> bytes:
        """A message for Lua; callbacks that Python let go of are reported along with it.

        Raises:
            TypeError: A value, or a key of a dict, is of a type that Lua does not know.
            ScriptError: Tables are nested deeper than ``MAX_DEPTH`` or contain themselves.
        """
        body = bytearray()
        self._sent = []
        try:
            self._put(list(values), body, -1)
        except BaseException:
            self.take_back()
            raise
        dropped = b"".join(_INT.pack(self._dropped.popleft()) for _ in range(len(self._dropped)))
        name = kind.encode()
        return bytes((len(name),)) + name + _SIZE.pack(len(dropped)) + dropped + bytes(body)

    def take_back(self) -> None:
        """Forgets the objects of the last message, which Lua never received."""
        for number in self._sent:
            self.release(number, 1)
        self._sent = []

    def decode(self, message: bytes) -> Message:
        """Reads a message from Lua.

        Raises:
            BorderError: The bytes are not a message.
        """
        reader = _Reader(self, message)
        kind = _text(reader.take(reader.take(1)[0]))
        released = reader.take(reader.size(1))
        if len(released) % _RELEASE.size:
            raise BorderError("incomplete list of released ids")
        values = reader.value(-1)
        if not isinstance(values, list) or reader.left:
            raise BorderError("a message ends with one list of values")
        return Message(kind, list(_RELEASE.iter_unpack(released)), values)

    def release(self, number: int, times: int) -> None:
        """Forgets that a host object was sent ``times`` times; an unknown id is no error."""
        uses = self._uses.get(number)
        if uses is None:
            return
        if uses > times:
            self._uses[number] = uses - times
            return
        del self._uses[number], self._ids[id(self._objects.pop(number))]

    def owns(self, callback: Callback) -> bool:
        """Whether a callback is a function of this Lua state."""
        return callback._dropped is self._dropped

    def callback(self, index: int) -> Callback:
        """The function that Lua keeps under an index."""
        return Callback(index, self._dropped)

    def object(self, number: int) -> HostObject:
        """The host object with this id.

        Raises:
            BorderError: No object has this id.
        """
        try:
            return self._objects[number]
        except KeyError:
            raise BorderError(f"no host object has the id {number}") from None

    def _put(self, value: Any, out: bytearray, depth: int) -> None:
        if value is None:
            out += b"n"
        elif isinstance(value, bool):
            out += b"t" if value else b"f"
        elif isinstance(value, int):
            _put_int(value, out)
        elif isinstance(value, float):
            out += b"d" + _FLOAT.pack(value)
        elif isinstance(value, str):
            _put_bytes(_bytes(value), out)
        elif isinstance(value, bytes):
            _put_bytes(value, out)
        elif isinstance(value, HostObject):
            self._put_object(value, out, depth)
        elif isinstance(value, Callback) and self.owns(value):
            out += b"c" + _INT.pack(value.index)
        elif isinstance(value, (list, tuple, dict)):
            self._put_table(value, out, depth + 1)
        else:
            raise TypeError(f"a value of type {_type_name(value)} cannot cross into Lua")

    def _put_table(
        self,
        table: list[Any] | tuple[Any, ...] | Mapping[Any, Any],
        out: bytearray,
        depth: int,
    ) -> None:
        if depth > MAX_DEPTH:
            raise ScriptError(
                f"a table nested deeper than {MAX_DEPTH} levels, or inside itself,"
                " cannot reach the script"
            )
        if not isinstance(table, Mapping):
            out += b"l" + _SIZE.pack(len(table))
            for item in table:
                self._put(item, out, depth)
            return
        pairs = [(key, item) for key, item in table.items() if item is not None]
        out += b"m" + _SIZE.pack(len(pairs))
        for key, item in pairs:
            if not isinstance(key, (str, bytes, int, float)) or key != key:
                raise TypeError(f"a key of type {_type_name(key)} cannot cross into Lua: {key!r}")
            self._put(key, out, depth)
            self._put(item, out, depth)

    def _put_object(self, value: HostObject, out: bytearray, depth: int) -> None:
        if value.lua_class not in self._classes:
            raise TypeError(f"no class {value.lua_class!r} is known to the Lua side")
        number = self._ids.get(id(value))
        if number is None:
            self._last_id = number = self._last_id + 1
            self._ids[id(value)] = number
            self._objects[number] = value
            self._uses[number] = 0
        self._uses[number] += 1
        self._sent.append(number)
        name = value.lua_class.encode()
        out += b"o" + _INT.pack(number) + _SIZE.pack(len(name)) + name
        self._put_table(dict(value.lua_fields()), out, depth + 1)


class _Reader:
    """Reads one message; no length in it is believed before the bytes are there."""

    def __init__(self, border: Border, data: bytes):
        self._border = border
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise BorderError("message ends early")
        start, self._at = self._at, self._at + count
        return self._data[start : self._at]

    def size(self, unit: int) -> int:
        """A count of things that take at least ``unit`` bytes each."""
        (count,) = _SIZE.unpack(self.take(4))
        if count * unit > self.left:
            raise BorderError("message ends early")
        return int(count)

    def value(self, depth: int) -> Any:
        tag = self.take(1)
        if tag == b"s":
            return _text(self.take(self.size(1)))
        if tag == b"i":
            return self.integer()
        if tag == b"d":
            return _FLOAT.unpack(self.take(8))[0]
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag == b"c":
            return self._border.callback(self.integer())
        if tag == b"o":
            return self._border.object(self.integer())
        if depth >= MAX_DEPTH:
            raise BorderError(f"tables nested deeper than {MAX_DEPTH} levels")
        if tag == b"l":
            return [self.value(depth + 1) for _ in range(self.size(1))]
        if tag == b"m":
            return {self.key(): self.value(depth + 1) for _ in range(self.size(2))}
        raise BorderError(f"unknown tag {tag!r}")

    def integer(self) -> int:
        number: int = _INT.unpack(self.take(8))[0]
        return number

    def key(self) -> str | int | float:
        value = self.value(MAX_DEPTH)
        if not isinstance(value, (str, int, float)):
            raise BorderError(f"a key of type {_type_name(value)}")
        return value


_CONSTANTS: Final = {b"n": None, b"t": True, b"f": False}


def _put_int(value: int, out: bytearray) -> None:
    if -(2**63) <= value < 2**63:
        out += b"i" + _INT.pack(value)
        return
    try:
        number = float(value)
    except OverflowError:
        number = float("inf") if value > 0 else float("-inf")
    out += b"d" + _FLOAT.pack(number)


def _put_bytes(value: bytes, out: bytearray) -> None:
    if len(value) >= 2**32:
        raise ScriptError("a string of 4 GiB or more cannot reach the script")
    out += b"s" + _SIZE.pack(len(value)) + value


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that never was a byte
        return text.encode("utf-8", "surrogatepass")


def _type_name(value: object) -> str:
    return type(value).__qualname__
