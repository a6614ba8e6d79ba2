"""What a token costs on this machine, put together from what its parts were measured to cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmspell_jupyter.models.gguf_work import Work

# A kind that makes up less than this share of a model's bytes is taken to cost what the main one
# does, unless it has been measured.
_WORTH_MEASURING = 0.1


@dataclass(frozen=True, slots=True)
class KindCost:
    """Seconds for a byte of weights of one kind.

    Attributes:
        low: In the fastest of several answers.
        middle: In the middle one.
        high: In the slowest.
        prompt: While a prompt is read.
    """

    low: float
    middle: float
    high: float
    prompt: float


@dataclass(frozen=True, slots=True)
class BaseCost:
    """Seconds for what is not multiplying with weights.

    Attributes:
        layer: For each layer of a model.
        choice: For each token of its vocabulary, one of which is chosen.
        attention: For each number of the text so far that a token is multiplied with.
    """

    layer: float
    choice: float
    attention: float

    def seconds(self, work: Work, context: int) -> float:
        """For a token of this model with so many behind it."""
        return (
            self.layer * work.layers
            + self.choice * work.vocabulary
            + self.attention * work.attention * context
        )


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds for a token; None where unknown.

    Attributes:
        low: As ``KindCost``.
        middle: As ``KindCost``.
        high: As ``KindCost``.
        prompt: For a token of a prompt.
    """

    low: float
    middle: float
    high: float
    prompt: float


def missing(work: Work, kinds: Mapping[str, KindCost]) -> list[str]:
    """Kinds of a model that should be measured, those with the most bytes first."""
    total = sum(work.kinds.values())
    wanted = [name for name, size in work.kinds.items() if size >= _WORTH_MEASURING * total]
    return sorted(
        (name for name in wanted if name not in kinds), key=lambda name: -work.kinds[name]
    )


def estimate(
    work: Work, context: int, base: BaseCost, kinds: Mapping[str, KindCost]
) -> Estimate | None:
    """What a token of a model costs; None while its main kind has not been measured.

    Args:
        work: What is computed for it.
        context: Tokens behind it.
        base: Costs beside weights.
        kinds: Costs of weights by their kind.
    """
    main = kinds.get(work.main)
    if main is None:
        return None
    rest = base.seconds(work, context)

    def total(which: str) -> float:
        return rest + sum(
            size * float(getattr(kinds.get(name, main), which)) for name, size in work.kinds.items()
        )

    prompt = sum(size * kinds.get(name, main).prompt for name, size in work.inner.items())
    return Estimate(total("low"), total("middle"), total("high"), prompt)


def to_wire(base: BaseCost | None, kinds: Mapping[str, KindCost]) -> dict[str, Any]:
    """As JSON values; ``from_wire`` is its inverse."""
    return {
        "base": None if base is None else [base.layer, base.choice, base.attention],
        "kinds": {
            name: [cost.low, cost.middle, cost.high, cost.prompt] for name, cost in kinds.items()
        },
    }


def from_wire(wire: Mapping[str, Any]) -> tuple[BaseCost | None, dict[str, KindCost]]:
    """Costs that were kept.

    Raises:
        ValueError, TypeError, AttributeError, KeyError: They are damaged.
    """
    base = wire["base"]
    kinds = {str(name): KindCost(*map(_positive, cost)) for name, cost in wire["kinds"].items()}
    return (None if base is None else BaseCost(*map(_positive, base))), kinds


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 <= number < 1:
        raise ValueError("no time that a machine takes")
    return number
