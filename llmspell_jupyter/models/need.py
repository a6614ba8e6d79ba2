"""How much memory a model takes, in its parts."""

from __future__ import annotations

from dataclasses import dataclass

# Context for each further answer that is written at the same time: an answer of the usual 512
# tokens, and a prompt of as many.
_BESIDE = 1024


def shared_tokens(own: int, texts: int) -> int:
    """Tokens of context that answers written at the same time share.

    One answer can fill its own context; for the others there is room for a short question and
    answer each, and at most as much again. Who does not fit waits.

    Args:
        own: Tokens that one answer can fill.
        texts: Answers that are written at a time.
    """
    return own + min(own, (texts - 1) * _BESIDE)


@dataclass(frozen=True, slots=True)
class Need:
    """Memory of the machine, not of a GPU, in bytes.

    Attributes:
        weights: The model itself. A memory-mapped file counts: it must stay in memory to be fast.
        context: What the model remembers of the texts that it works on.
        working: What it computes in, its vocabulary, and the process around it.
    """

    weights: int
    context: int
    working: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.context + self.working

    def to_wire(self) -> dict[str, int]:
        """The parts and their sum, as JSON values."""
        return {
            "weights": self.weights,
            "context": self.context,
            "working": self.working,
            "total": self.total,
        }
