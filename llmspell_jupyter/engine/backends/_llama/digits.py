"""Ranges of whole numbers as GBNF."""

from __future__ import annotations

from collections.abc import Iterator

# Digits of a number without a bound: what a double holds exactly.
_MOST_DIGITS = 16


def integer_between(least: int | None, most: int | None) -> str:
    """An expression for the whole numbers from ``least`` to ``most``; None is no bound."""
    limit = 10**_MOST_DIGITS - 1
    low, high = (-limit if least is None else least), (limit if most is None else most)
    ways = []
    if low < 0:
        ways.append(f'"-" ({" | ".join(_positive(max(1, -high), -low))})')
    if high >= 0:
        ways += _positive(max(0, low), high)
    return " | ".join(ways)


def _positive(low: int, high: int) -> list[str]:
    """Ways to write the numbers from ``low`` to ``high``, none of which is negative."""
    ways = []
    for length in range(len(str(low)), len(str(high)) + 1):
        begin = max(low, 10 ** (length - 1) if length > 1 else 0)
        end = min(high, 10**length - 1)
        if length > 1 and begin == 10 ** (length - 1) and high >= 10**length - 1:
            # All numbers of this length, and of the next ones that are whole as well.
            longest = len(str(high + 1)) - 1
            ways.append(f"[1-9] [0-9]{{{length - 1},{longest - 1}}}")
            if longest < len(str(high)):
                ways += _same_length(str(10**longest), str(high))
            return ways
        ways += _same_length(str(begin), str(end))
    return ways


def _same_length(low: str, high: str) -> Iterator[str]:
    """Ways to write the numbers between two of the same number of digits."""
    more = len(low) - 1
    if not more:
        yield _digit(low, high)
    elif low[1:] == "0" * more and high[1:] == "9" * more:
        yield f"{_digit(low[0], high[0])} [0-9]{{{more}}}"
    elif low[0] == high[0]:
        for rest in _same_length(low[1:], high[1:]):
            yield f'"{low[0]}" {rest}'
    else:
        yield from _same_length(low, low[0] + "9" * more)
        if int(low[0]) + 1 < int(high[0]):
            first, last = str(int(low[0]) + 1), str(int(high[0]) - 1)
            yield f"{_digit(first, last)} [0-9]{{{more}}}"
        yield from _same_length(high[0] + "0" * more, high)


def _digit(low: str, high: str) -> str:
    return f'"{low}"' if low == high else f"[{low}-{high}]"
