"""Which of a repository's files make the model that is taken, by their names alone."""

from __future__ import annotations

import random

import pytest

from llmspell_jupyter.models.hub import files


def names(*kinds: str) -> list[str]:
    """A file of each kind, in an order of its own."""
    found = [f"m-{kind}.gguf" for kind in kinds]
    random.Random(0).shuffle(found)
    return found


@pytest.mark.parametrize(
    "order",
    [
        ("Q4_K_L", "UD-Q4_K_XL", "Q3_K_XL", "IQ2_XXS", "BF16"),
        ("Q4_K_M", "UD-Q4_K_M", "Q4_K_L", "UD-Q4_K_XL", "Q4_K_S"),
        ("Q5_K_M", "Q5_K_XL", "Q5_K_S", "Q6_K", "Q6_K_L", "Q8_0", "UD-Q8_K_XL", "F16"),
        ("Q3_K_L", "Q3_K_XL", "Q3_K_M", "Q2_K", "Q2_K_L", "IQ2_M", "IQ1_S", "F32"),
        # Kinds that nobody knows yet: smaller than whole numbers, whatever they are.
        ("Q8_0", "IQ1_M", "TQ1_0", "NVFP4", "BF16", "UD-BF16", "F16", "F32"),
    ],
)
def test_the_best_kind_comes_first_and_the_largest_last(order: tuple[str, ...]) -> None:
    assert files.quantizations(names(*order)) == order


def test_whole_numbers_are_not_what_is_taken_by_itself() -> None:
    paths = names("IQ2_XXS", "NVFP4", "BF16")
    assert files.choose_gguf("o/r", paths, None, ("Q4_K_M",)).quantization == "IQ2_XXS"
    paths = names("NVFP4", "BF16")
    assert files.choose_gguf("o/r", paths, None, ("Q4_K_M",)).quantization == "NVFP4"
