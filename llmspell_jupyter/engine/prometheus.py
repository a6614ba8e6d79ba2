"""Numbers in the text format of Prometheus, version 0.0.4.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

#: ``Content-Type`` of the text.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Series that a family has at most; those after them are counted together.
_MOST_SERIES = 500
_OTHER = "other"

_Values = tuple[str, ...]


class Family(ABC):
    """Series of one name that differ in their labels.

    Args:
        name: Name of the family, with its unit and, for counters, ``_total``.
        meaning: One line for people.
        labels: Names of the labels.
    """

    kind: ClassVar[str]

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()):
        self.name = name
        self._meaning = meaning
        self._labels = tuple(labels)

    def text(self) -> str:
        """The family's lines."""
        head = f"# HELP {self.name} {_escaped(self._meaning)}\n# TYPE {self.name} {self.kind}\n"
        return head + "".join(f"{line}\n" for line in self._lines())

    def _series(self, values: _Values, known: Mapping[_Values, object]) -> _Values:
        assert len(values) == len(self._labels)
        full = values not in known and len(known) >= _MOST_SERIES
        return tuple(_OTHER for _ in values) if full else values

    def _line(self, values: _Values, number: float, *, suffix: str = "", le: str = "") -> str:
        pairs = [*zip(self._labels, values, strict=True), *([("le", le)] if le else [])]
        inside = ",".join(f'{name}="{_quoted(value)}"' for name, value in pairs)
        return f"{self.name}{suffix}{f'{{{inside}}}' if inside else ''} {_number(number)}"

    @abstractmethod
    def _lines(self) -> Iterator[str]:
        """Its samples."""


class Counter(Family):
    """What only grows."""

    kind = "counter"

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()):
        super().__init__(name, meaning, labels)
        self._numbers: dict[_Values, float] = {}

    def add(self, *values: str, number: float = 1) -> None:
        """Count ``number`` more of the series with these labels."""
        series = self._series(values, self._numbers)
        self._numbers[series] = self._numbers.get(series, 0) + number

    def _lines(self) -> Iterator[str]:
        return (self._line(values, number) for values, number in self._numbers.items())


class Gauge(Family):
    """What is so at the moment.

    Args:
        samples: All series and their numbers.
    """

    kind = "gauge"

    def __init__(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str] = (),
        *,
        samples: Mapping[_Values, float],
    ):
        super().__init__(name, meaning, labels)
        self._samples = samples

    def _lines(self) -> Iterator[str]:
        return (self._line(values, number) for values, number in self._samples.items())


class Histogram(Family):
    """How often which size was seen.

    Args:
        bounds: Upper ends of the buckets, rising; one without an end is added.
    """

    kind = "histogram"

    def __init__(self, name: str, meaning: str, labels: Sequence[str], *, bounds: Sequence[float]):
        super().__init__(name, meaning, labels)
        self._bounds = (*bounds, math.inf)
        self._counts: dict[_Values, list[int]] = {}
        self._sums: dict[_Values, float] = {}

    def observe(self, *values: str, number: float) -> None:
        """Note one size of the series with these labels."""
        series = self._series(values, self._counts)
        counts = self._counts.setdefault(series, [0] * len(self._bounds))
        counts[bisect_left(self._bounds, number)] += 1
        self._sums[series] = self._sums.get(series, 0.0) + number

    def _lines(self) -> Iterator[str]:
        for values, counts in self._counts.items():
            below = 0
            for bound, count in zip(self._bounds, counts, strict=True):
                below += count
                yield self._line(values, below, suffix="_bucket", le=_number(bound))
            yield self._line(values, self._sums[values], suffix="_sum")
            yield self._line(values, below, suffix="_count")


def _number(number: float) -> str:
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    return repr(int(number)) if float(number).is_integer() else repr(float(number))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(value: str) -> str:
    return _escaped(value).replace('"', '\\"')
