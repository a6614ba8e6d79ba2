"""``python -m llmspell_jupyter.engine``: the engine that a notebook starts by itself."""

from __future__ import annotations

import argparse
import logging
import sys

from llmspell_jupyter.config import environment, paths
from llmspell_jupyter.engine import log
from llmspell_jupyter.engine.serve import Settings, bounds, serve
from llmspell_jupyter.errors import ConfigError, EngineUnavailable

# An engine that was told to stop takes about a second for its open streams, and holds its lock.
_PATIENCE_SECONDS = 10.0


def main() -> None:
    """Serve until idle, until the owner has ended, or until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m llmspell_jupyter.engine")
    parser.add_argument("--owner", type=int, help="process to end with")
    parser.add_argument(
        "--log", action="store_true", help="write to the engine's log what would go to a file"
    )
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        settings = Settings(
            transport=environment.transport(),
            idle_seconds=environment.idle_seconds(),
            owner=arguments.owner,
            bounds=bounds(),
        )
        begin = log.begin if arguments.log else lambda: None
        if not serve(settings, patience=_PATIENCE_SECONDS, begin=begin):
            raise EngineUnavailable(
                f"Another engine of yours has not ended yet; it holds {paths.engine_lock()}.",
                hint="Wait a moment and try again. If it never ends, end that process: "
                "python -m llmspell_jupyter.engine",
            )
    except (ConfigError, EngineUnavailable) as error:
        # Whoever started it shows the last lines of what it wrote.
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
