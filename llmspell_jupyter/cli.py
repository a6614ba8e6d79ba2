"""``jupyter llmspell``: the one command of this package."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import click

from llmspell_jupyter.config import environment
from llmspell_jupyter.engine import control
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.engine.serve import Settings, serve
from llmspell_jupyter.errors import EngineUnavailable, LLMSpellError

_LOG_LINES = 100


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("llmspell-jupyter"), prog_name="llmspell-jupyter")
def main() -> None:
    """Local language models, scripted in Lua, inside a notebook."""


@main.group()
def engine() -> None:
    """The process that runs models for all notebooks of a user.

    Notebooks start it by themselves; it ends when it is idle and when their Jupyter server ends.
    """


@engine.command("serve")
@click.option(
    "--idle-timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="End after so long without a request; 0 never does.  [default: 1800]",
)
@click.option("--tcp", is_flag=True, help="Listen on loopback TCP instead of a Unix socket.")
def engine_serve(idle_timeout: float | None, tcp: bool) -> None:
    """Run the engine in the foreground, until Ctrl-C or `engine stop`."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    with _plain_errors():
        settings = Settings(
            transport="tcp" if tcp else environment.transport(),
            idle_seconds=environment.idle_seconds() if idle_timeout is None else idle_timeout,
            owner=None,
            queue_limit=environment.queue_limit(),
        )
        if not serve(settings):
            raise EngineUnavailable(
                "An engine of yours runs already.",
                hint="Type: jupyter llmspell engine status",
            )


@engine.command("status")
def engine_status() -> None:
    """Say whether the engine runs and what it does; exit status 1 when it does not run."""
    with _plain_errors():
        status = _with_client(EngineClient.status)
    if status is None:
        click.echo("The engine is not running; notebooks start it when they need it.")
        sys.exit(1)
    click.echo(
        f"Engine {status['version']}, process {status['pid']}, {status['transport']} socket, "
        f"started {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(status['started']))}"
    )
    for worker in status["workers"]:
        click.echo(
            f"  {worker['model']}: {worker['state']} on {worker.get('device', '?')}, "
            f"process {worker['pid']}, {worker['waiting']} waiting"
        )
    for job in status["jobs"]:
        click.echo(
            f"  job for {job['client']}: {job['model']}, {job['phase']}, {job['tokens']} tokens"
        )


@engine.command("stop")
def engine_stop() -> None:
    """End the engine, also one that does not answer; models are unloaded."""
    pid = _with_client(control.stop)
    click.echo(
        "The engine is not running." if pid is None else f"The engine (process {pid}) has ended."
    )


@engine.command("logs")
@click.option("-n", "--lines", type=click.IntRange(min=1), default=_LOG_LINES, show_default=True)
def engine_logs(lines: int) -> None:
    """Print what the engine and its workers last wrote."""
    click.echo(control.log_tail(lines) or "The engine has written nothing yet.")


def _with_client(use: Callable[[EngineClient], Any]) -> Any:
    client = EngineClient()
    try:
        return use(client)
    finally:
        client.close()


@contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except LLMSpellError as error:
        click.echo(f"{type(error).__name__}: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
