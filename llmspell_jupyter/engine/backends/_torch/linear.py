"""Matrices as T5 multiplies by them."""

from __future__ import annotations

from typing import Any, Protocol

from llmspell_jupyter.engine.backends._torch.library import torch

_LARGEST_INT8 = 127.0


class Linear(Protocol):
    """A matrix of shape ``(outputs, inputs)``; vectors are rows of shape ``(rows, inputs)``."""

    def __call__(self, x: Any) -> Any:
        """The product, of shape ``(rows, outputs)``."""

    def onto(self, x: Any, residual: Any) -> Any:
        """The product added to what is there."""


class Dense:
    """A matrix as it is in the file, or converted.

    Args:
        weight: Its numbers; vectors are converted to their kind.
    """

    def __init__(self, weight: Any):
        self._linear = torch().nn.functional.linear
        self._addmm = torch().addmm
        self._weight = weight
        self._transposed = weight.t()
        self._dtype = weight.dtype

    def __call__(self, x: Any) -> Any:
        return self._linear(x, self._weight)

    def onto(self, x: Any, residual: Any) -> Any:
        if residual.dtype == x.dtype == self._dtype:
            return self._addmm(residual, x, self._transposed)
        return residual + self._linear(x.to(self._dtype), self._weight)


class Columns:
    """A matrix of many rows, held by columns.

    With few vectors a CPU reads it twice as fast that way: for 32,000 rows of 512 numbers in 32
    bits it took 3.6 ms instead of 7.0 (one thread of an AMD EPYC, torch 2.13).

    Args:
        weight: Its numbers.
    """

    def __init__(self, weight: Any):
        self._multiply = torch().mm
        self._columns = weight.t().contiguous()

    def __call__(self, x: Any) -> Any:
        return self._multiply(x, self._columns)

    def onto(self, x: Any, residual: Any) -> Any:
        return residual + self(x)


class Int8:
    """A matrix in 8 bits with a scale for each row; vectors are rounded to bfloat16 on the way.

    Args:
        weight: Its numbers in floating point.
    """

    def __init__(self, weight: Any):
        lib = torch()
        self._multiply = lib._weight_int8pack_mm
        self._short = lib.bfloat16
        largest = weight.abs().amax(dim=1, keepdim=True).float().clamp_(min=1e-12)
        self._weight = (weight / (largest / _LARGEST_INT8)).round_().to(lib.int8)
        self._scale = (largest / _LARGEST_INT8).flatten().to(self._short)

    def __call__(self, x: Any) -> Any:
        return self._multiply(x.to(self._short), self._weight, self._scale).to(x.dtype)

    def onto(self, x: Any, residual: Any) -> Any:
        return residual + self(x)
