"""The rules of a grammar, and what llama.cpp would not finish with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from llmspell_jupyter.errors import RequestError

_MOST_RULES = 5_000

#: Characters and names of rules that a grammar may have, repetitions written out.
MOST_ITEMS = 50_000

# Ways to go on after a character: llama.cpp tries each with every token of its vocabulary.
_MOST_WAYS = 1_000
_MOST_STEPS = 500_000

#: What an alternative is made of: names of rules, and this for a character.
CHARACTER = ""
Items = tuple[str, ...]


def wrong(cause: str) -> RequestError:
    """The error for a grammar that cannot be used."""
    return RequestError(
        f"The grammar cannot be used: {cause}.",
        hint="Grammars are written in GBNF, as llama.cpp reads it.",
        data={"field": "grammar", "cause": cause},
    )


@dataclass(slots=True)
class Rules:
    """Rules by name; those of groups and repetitions have names that cannot be written.

    ``loops`` are the rules of repetitions without end, which refer to themselves.
    """

    alternatives: dict[str, list[Items]] = field(default_factory=dict)
    loops: set[str] = field(default_factory=set)
    items: int = 0

    def add(self, alternatives: list[Items], name: str | None = None) -> str:
        """Add a rule; return its name, a fresh one where none is given."""
        name = name or f"#{len(self.alternatives)}"
        self.alternatives[name] = alternatives
        self.items += sum(map(len, alternatives))
        if len(self.alternatives) > _MOST_RULES or self.items > MOST_ITEMS:
            raise wrong("it is too large once its repetitions are written out")
        return name


def check_left_recursion(rules: Rules) -> None:
    """Refuse a rule that comes to itself before any character."""
    empty = _nullable(rules)
    first = {name: set(_first(rules, name, empty)) for name in rules.alternatives}
    done: set[str] = set()
    for start in first:
        path = {} if start in done else {start: iter(first[start])}
        while path:
            name = next(path[current := next(reversed(path))], None)
            if name is None:
                done.add(current)
                del path[current]
            elif name in path:
                circle = list(path)[list(path).index(name) :]
                named = next(each for each in circle if not each.startswith("#"))
                raise wrong(f"rule {named!r} begins with itself (left recursion)")
            elif name not in done:
                path[name] = iter(first[name])


def _nullable(rules: Rules) -> set[str]:
    users: dict[str, set[str]] = {}
    for name, alternatives in rules.alternatives.items():
        for items in alternatives:
            for item in items:
                users.setdefault(item, set()).add(name)
    empty: set[str] = set()
    waiting = list(rules.alternatives)
    while waiting:
        name = waiting.pop()
        if name not in empty and any(
            all(item in empty for item in items) for items in rules.alternatives[name]
        ):
            empty.add(name)
            waiting += users.get(name, ())
    return empty


def _first(rules: Rules, name: str, empty: set[str]) -> Iterator[str]:
    """Rules that can stand at the beginning of a rule."""
    for items in rules.alternatives[name]:
        for item in items:
            if item != CHARACTER and not (item == name and name in rules.loops):
                yield item
            if item not in empty:
                break


def check_ways(rules: Rules) -> None:
    """Refuse a grammar in which one character can be read in very many ways."""
    root: Items = ("root",)
    starts = [(root, 0)] + [
        (items, place + 1)
        for alternatives in rules.alternatives.values()
        for items in alternatives
        for place, item in enumerate(items)
        if item == CHARACTER
    ]
    steps = 0
    for items, place in starts:
        steps += _ways(rules, items, place)
        if steps > _MOST_STEPS:
            raise wrong("it is too ambiguous to be followed in time")


def _ways(rules: Rules, items: Items, at: int) -> int:
    """Count the ways to go on from a place until the next character or the end of its rule."""
    # A place is an alternative, how far it is read, and the number of the place to return to.
    places = [(items, at, -1)]
    known = {(id(items), at, -1): 0}
    for number in _growing(places):
        items, at, after = places[number]
        if at == len(items):
            following = [places[after]] if after >= 0 else []
        elif items[at] == CHARACTER:
            following = []
        else:
            # llama.cpp forgets a rule that has nothing left to read.
            rest = after
            if at + 1 < len(items):
                rest = known.setdefault((id(items), at + 1, after), len(places))
                if rest == len(places):
                    places.append((items, at + 1, after))
            following = [(each, 0, rest) for each in rules.alternatives[items[at]]]
        for place in following:
            if known.setdefault((id(place[0]), *place[1:]), len(places)) == len(places):
                places.append(place)
        if len(places) > _MOST_WAYS:
            raise wrong("it is too ambiguous: one character can be read in very many ways")
    return len(places)


def _growing(things: Sequence[object]) -> Iterator[int]:
    number = 0
    while number < len(things):
        yield number
        number += 1
