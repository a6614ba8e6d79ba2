"""Kinds of tensors in GGUF files, and which of them a quantisation is made of.

Numbers and block sizes: https://github.com/ggml-org/ggml/blob/master/include/ggml.h
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Kind:
    """How numbers of a tensor are held.

    Attributes:
        name: As ggml writes it.
        number: In GGUF files.
        block: Numbers that are held together.
        block_bytes: Bytes of them.
        scales: Where in these bytes the floating-point numbers of 16 bits lie that they are
            multiplied with.
    """

    name: str
    number: int
    block: int
    block_bytes: int
    scales: tuple[int, ...] = ()

    def size(self, numbers: int) -> int:
        """Bytes of so many numbers."""
        return -(-numbers // self.block) * self.block_bytes


def _kinds() -> dict[str, Kind]:
    one, two = (0,), (0, 2)
    kinds = (
        *(Kind("F32", 0, 1, 4), Kind("F16", 1, 1, 2), Kind("BF16", 30, 1, 2)),
        *(Kind("Q4_0", 2, 32, 18, one), Kind("Q4_1", 3, 32, 20, two)),
        *(Kind("Q5_0", 6, 32, 22, one), Kind("Q5_1", 7, 32, 24, two)),
        *(Kind("Q8_0", 8, 32, 34, one), Kind("IQ4_NL", 20, 32, 18, one)),
        *(Kind("Q2_K", 10, 256, 84, (80, 82)), Kind("Q3_K", 11, 256, 110, (108,))),
        *(Kind("Q4_K", 12, 256, 144, two), Kind("Q5_K", 13, 256, 176, two)),
        *(Kind("Q6_K", 14, 256, 210, (208,)), Kind("IQ4_XS", 23, 256, 136, one)),
        *(Kind("IQ2_XXS", 16, 256, 66, one), Kind("IQ2_XS", 17, 256, 74, one)),
        *(Kind("IQ2_S", 22, 256, 82, one), Kind("IQ3_XXS", 18, 256, 98, one)),
        *(Kind("IQ3_S", 21, 256, 110, one), Kind("IQ1_S", 19, 256, 50, one)),
        *(Kind("TQ1_0", 34, 256, 54, (52,)), Kind("TQ2_0", 35, 256, 66, (64,))),
        *(Kind("IQ1_M", 29, 256, 56), Kind("MXFP4", 39, 32, 17), Kind("F64", 28, 1, 8)),
        *(
            Kind("I8", 24, 1, 1),
            Kind("I16", 25, 1, 2),
            Kind("I32", 26, 1, 4),
            Kind("I64", 27, 1, 8),
        ),
    )
    return {each.name: each for each in kinds}


#: By name.
KINDS: Mapping[str, Kind] = MappingProxyType(_kinds())

#: By the number in a file.
BY_NUMBER: Mapping[int, Kind] = MappingProxyType({each.number: each for each in KINDS.values()})
