"""``jupyter llmspell``: the one command of this package."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import click

from llmspell_jupyter.cli.common import Options, plain_errors, with_client
from llmspell_jupyter.cli.model import model
from llmspell_jupyter.config import (
    environment,
    leaves,
    paths,
    profiles,
    texts,
    writing,
)
from llmspell_jupyter.config.escaping import printable
from llmspell_jupyter.engine import control
from llmspell_jupyter.engine.client import EngineClient
from llmspell_jupyter.engine.serve import Settings, bounds, serve
from llmspell_jupyter.errors import ConfigError, EngineUnavailable
from llmspell_jupyter.runtime import sizes

_LOG_LINES = 100
_LONGEST_LINE = 1000

_SERVE_TCP = "Start one: jupyter llmspell engine serve --tcp"


class _WithProfiles(click.Group):
    """Adds the profiles to the help, read when it is asked for."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Profiles"):
            formatter.write("\n".join(f"  {line}" for line in texts.listing().splitlines()) + "\n")


@click.group(cls=_WithProfiles, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-p", "--profile", metavar="NAME", help="Load a built-in profile.")
@click.option("-c", "--config", "config_file", metavar="FILE", help="Load a configuration file.")
@click.option(
    "--output",
    type=click.Choice(["text", "json", "pretty"]),
    default="text",
    show_default=True,
    help="How answers are printed; pretty is indented JSON.",
)
@click.version_option(version("llmspell-jupyter"), prog_name="llmspell-jupyter")
@click.pass_context
def main(context: click.Context, profile: str | None, config_file: str | None, output: str) -> None:
    """Local language models, scripted in Lua, inside a notebook."""
    context.obj = Options(profile, config_file, output)


@main.group()
def config() -> None:
    """Profiles and configuration files: what is in force, and why."""


@config.command("show")
@click.argument("section", default="")
@click.option("--format", "form", type=click.Choice(["toml", "json"]), default="toml")
@click.pass_obj
def config_show(options: Options, section: str, form: Literal["toml", "json"]) -> None:
    """Print the values in force, or those of a section such as `rag.embedding`."""
    with plain_errors():
        loaded = options.load()
        options.say(texts.show(loaded, section, form), loaded.show(section))


@config.command("validate")
@click.argument("file")
@click.pass_obj
def config_validate(options: Options, file: str) -> None:
    """Check a file; exit status 1 when it is wrong."""
    with plain_errors():
        options.say(texts.validity(file), {"file": file, "valid": True})


@config.command("explain")
@click.argument("key")
@click.pass_obj
def config_explain(options: Options, key: str) -> None:
    """Tell value, meaning and origin of a key such as `rag.embedding.batch_size`."""
    with plain_errors():
        explanation = options.load().explain(key)
        options.say(str(explanation), texts.explanation(explanation))


@config.command("list-profiles")
@click.pass_obj
def config_list_profiles(options: Options) -> None:
    """List the built-in profiles and whom each is for."""
    options.say(texts.listing(), texts.profile_facts())


@config.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of configuration files, for editors."""
    click.echo(json.dumps(leaves.json_schema(), indent=2, ensure_ascii=False))


@config.command("init")
@click.option("-o", "--file", default="llmspell.toml", show_default=True, metavar="FILE")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.pass_obj
def config_init(options: Options, file: str, force: bool) -> None:
    """Write a file to start from; it is found in the folder of the notebook."""
    with plain_errors():
        base = texts.canonical(options.profile or profiles.DEFAULT)
        try:
            with Path(file).open("w" if force else "x", encoding="utf-8") as target:
                target.write(writing.starter(base))
        except OSError as error:
            reason = "is there already" if isinstance(error, FileExistsError) else str(error)
            hint = "Add --force to replace it." if isinstance(error, FileExistsError) else ""
            raise ConfigError(f"{file} cannot be written: {reason}.", hint=hint) from None
        click.echo(f"{file} is written; it starts from profile {base}.")


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
    with plain_errors():
        settings = Settings(
            transport="tcp" if tcp else environment.transport(),
            idle_seconds=environment.idle_seconds() if idle_timeout is None else idle_timeout,
            owner=None,
            bounds=bounds(),
        )
        if not serve(settings):
            raise EngineUnavailable(
                "An engine of yours runs already.",
                hint="Type: jupyter llmspell engine status",
            )


@engine.command("status")
@click.pass_obj
def engine_status(options: Options) -> None:
    """Say whether the engine runs and what it does; exit status 1 when it does not run."""
    with plain_errors():
        status = with_client(EngineClient.status)
        found = control.running()
        if status is not None and found is not None:
            where = {"address": found.address, "openai_base_url": found.openai_url}
            status |= where | {"token_file": str(paths.connection_file())}
    options.say(_status_text(status), status or {"running": False})
    if status is None:
        sys.exit(1)


@engine.command("env")
@click.pass_obj
def engine_env(options: Options) -> None:
    """Print lines for a shell with which OpenAI clients reach the engine. They hold its token.

    Use: eval "$(jupyter llmspell engine env)"
    """
    with plain_errors():
        found = control.running()
        if found is None:
            raise EngineUnavailable("No engine is running.", hint=_SERVE_TCP)
        if found.openai_url is None:
            raise EngineUnavailable(
                "The engine listens on a Unix socket, which OpenAI clients do not reach.",
                hint=f"End it: jupyter llmspell engine stop. {_SERVE_TCP}",
            )
        facts = {"OPENAI_BASE_URL": found.openai_url, "OPENAI_API_KEY": found.token}
        lines = (f"export {name}={shlex.quote(value)}" for name, value in facts.items())
        options.say("\n".join(lines), facts)


@engine.command("stop")
def engine_stop() -> None:
    """End the engine, also one that does not answer; models are unloaded."""
    pid = with_client(control.stop)
    click.echo(
        "The engine is not running." if pid is None else f"The engine (process {pid}) has ended."
    )


@engine.command("logs")
@click.option("-n", "--lines", type=click.IntRange(min=1), default=_LOG_LINES, show_default=True)
def engine_logs(lines: int) -> None:
    """Print what the engine and its workers last wrote."""
    # What model files say is in here, too.
    shown = (printable(each, _LONGEST_LINE) for each in control.log_tail(lines).split("\n"))
    click.echo("\n".join(shown) or "The engine has written nothing yet.")


main.add_command(model)


def _status_text(status: dict[str, Any] | None) -> str:
    if status is None:
        return "The engine is not running; notebooks start it when they need it."
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status["started"]))
    lines = [
        f"Engine {status['version']}, process {status['pid']}, {status['transport']} socket, "
        f"started {started}"
    ]
    if "address" in status:
        lines += [
            f"  listens at {status['openai_base_url'] or status['address']}",
            f"  its token is in {status['token_file']}",
        ]
    lines += [
        f"  {worker['model']}: {worker['state']} on {worker.get('device', '?')}, "
        f"process {worker['pid']}, {worker['waiting']} waiting"
        for worker in status["workers"]
    ]
    lines += [
        f"  job for {job['client']}: {job['model']}, {job['phase']}, {_done(job)}"
        for job in status["jobs"]
    ]
    return "\n".join(lines)


def _done(job: dict[str, Any]) -> str:
    """How far a job is: tokens of an answer, bytes of a pull or a check."""
    progress = job.get("progress")
    if progress is None:
        return f"{job['tokens']} tokens"
    percent = "" if progress["percent"] is None else f"{progress['percent']} %, "
    return percent + sizes.part_of(progress["done"], progress["total"])
