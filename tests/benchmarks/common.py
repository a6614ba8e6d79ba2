"""What the benchmarks share: runs, medians, verdicts."""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from llmspell_jupyter.engine.cores import usable_cores  # noqa: E402
from tests.support.engines import in_this_process, runtime_folder  # noqa: E402
from tests.support.kernels import Notebook, notebook  # noqa: E402

# An installed package comes with its bytecode; a checkout gets it in the first run.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

#: Runs of each side; the first of each is not counted.
RUNS = 9

MODEL = "smollm2:135m"
SYSTEM = "You are a helpful assistant."
QUESTION = "Explain in a few sentences why the sea is blue and why waves have white tops."


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def shown(values: Sequence[float], unit: str) -> str:
    low, high = min(values), max(values)
    return f"median {median(values):.3g} {unit} ({len(values)} runs, {low:.3g} to {high:.3g})"


def verdict(name: str, figure: float, limit: float, unit: str, *, least: bool = False) -> bool:
    """Print how a figure compares with its limit; whether it holds."""
    good = figure >= limit if least else figure <= limit
    bound = "at least" if least else "at most"
    print(f"  {'ok' if good else 'MISSED'}: {name} {figure:.3g} {unit}, {bound} {limit:g} {unit}\n")
    return good


def machine() -> str:
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line for line in lines if line.startswith("model name")).partition(": ")[2]
    load = f", load {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{name}, {usable_cores()} usable cores{load}; {platform.system()}, "
        f"Python {platform.python_version()}; {MODEL}"
    )


@contextmanager
def private_notebook() -> Iterator[Notebook]:
    """A kernel with the extension loaded, and an engine of its own."""
    with (
        runtime_folder(JPY_PARENT_PID=str(os.getpid())) as environment,
        in_this_process(environment),
        notebook() as book,
    ):
        yield book


def agent(name: str, *, max_tokens: int) -> str:
    """Lua that builds a fresh agent."""
    return (
        f'%%lua\nlocal agent = Agent.builder():name("{name}"):model("{MODEL}"):temperature(0)'
        f':max_tokens({max_tokens}):system_prompt("{SYSTEM}"):build()\n'
    )
