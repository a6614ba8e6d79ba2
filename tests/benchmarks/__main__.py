"""Figures that we hold ourselves to: ``python tests/benchmarks [NAME ...]``.

Exit status 1 if any is missed. Run it on a quiet machine.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from common import machine

_FOLDER = Path(__file__).parent
NAMES = sorted(
    each.stem for each in _FOLDER.glob("*.py") if each.stem not in ("__main__", "common")
)


def main() -> int:
    print(machine(), flush=True)
    good = True
    for name in sys.argv[1:] or NAMES:
        module = importlib.import_module(name)
        print(f"\n{name}: {module.__doc__}", flush=True)
        good &= module.run()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
