"""``jupyter llmspell model``: the models of this machine and those that can be had."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from llmspell_jupyter.cli.common import Options, plain_errors, with_client
from llmspell_jupyter.cli.wording import in_terminal, this_line
from llmspell_jupyter.engine.client import EngineClient, Pull
from llmspell_jupyter.engine.messages import model_to_wire
from llmspell_jupyter.errors import EngineUnavailable, Interrupted
from llmspell_jupyter.models import lock
from llmspell_jupyter.providers import named
from llmspell_jupyter.runtime import fit_texts, model_texts, sizes
from llmspell_jupyter.types import PullProgress, Ready

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.local_models import LocalModels

_T = TypeVar("_T")

_PULL_HELP = f"""\b
{model_texts.SPECS}

\b
EXAMPLES:
    jupyter llmspell model available                   # List models that can be had
    jupyter llmspell model pull llama3.1:8b@ollama     # Download Llama 3.1 8B via Ollama
    jupyter llmspell model pull tinyllama@candle       # Download TinyLlama via Candle
    jupyter llmspell model pull phi3@ollama --force    # Force re-download

\b
{model_texts.LIBRARIES}"""


@click.group()
def model() -> None:
    """Models on this machine, and those that can be had."""


def _with_models(options: Options, use: Callable[[LocalModels], _T]) -> _T:
    def used(client: EngineClient) -> _T:
        # Imported here: no other command needs a runtime.
        from llmspell_jupyter.runtime.local_models import LocalModels
        from llmspell_jupyter.runtime.runtime import Runtime

        runtime = Runtime(client)
        runtime.apply(options.load())
        return use(LocalModels(runtime))

    return with_client(used)


@model.command("list")
@click.argument("name", metavar="[BACKEND]", default="")
@click.option("--backend", default="", help="candle, ollama or all; all without it.")
@click.option("-v", "--verbose", is_flag=True, help="Sizes, licences and stores, too.")
@click.pass_obj
def model_list(options: Options, name: str, backend: str, verbose: bool) -> None:
    """List the models on this machine."""
    with plain_errors():
        found = _with_models(options, lambda models: models.listed(name or backend or None))
    facts = [model_to_wire(each) for each in found]
    names = "\n".join(each.id for each in found) or "No model is on this machine."
    text = in_terminal(model_texts.installed(found)) if verbose else names
    options.say(text, {"status": "success", "models": facts, "count": len(facts)})


@model.command("available")
@click.argument("name", metavar="[BACKEND]", default="")
@click.option("--backend", default="", help="candle or ollama; both without it.")
@click.option("--search", default="", metavar="TEXT", help="Words to look for, on the hub, too.")
@click.pass_obj
def model_available(options: Options, name: str, backend: str, search: str) -> None:
    """List the models that can be had."""
    with plain_errors():
        wanted = name or backend or None
        found = _with_models(options, lambda models: models.available(wanted, search))
    options.say(in_terminal(model_texts.available(found)), asdict(found))


@model.command("info")
@click.argument("name", metavar="SPEC")
@click.pass_obj
def model_info(options: Options, name: str) -> None:
    """Print everything known of a model of this machine."""
    with plain_errors():
        facts = _with_models(options, lambda models: models.info(name))
    options.say(model_texts.info(facts), facts)


@model.command("fit")
@click.argument("name", metavar="SPEC")
@click.pass_obj
def model_fit(options: Options, name: str) -> None:
    """Say whether a model fits this machine and how fast it would be."""
    with plain_errors():
        judged = _with_models(options, lambda models: models.fit(name))
    options.say(fit_texts.fit(judged), asdict(judged))


@model.command("pull", epilog=_PULL_HELP)
@click.argument("name", metavar="[SPEC]", default="")
@click.option("-q", "--quantization", metavar="Q", help="Which files to take, such as Q5_K_M.")
@click.option("--revision", metavar="R", help="Branch, tag or commit of the repository.")
@click.option("--force", is_flag=True, help="Fetch again what is there.")
@click.option("--limit", metavar="20MB/s", help="Most that this download takes of the network.")
@click.option("--locked", is_flag=True, help="Fetch what llmspell.lock says, byte for byte.")
@click.pass_obj
def model_pull(
    options: Options,
    name: str,
    quantization: str | None,
    revision: str | None,
    force: bool,
    limit: str | None,
    locked: bool,
) -> None:
    """Fetch a model, checked byte for byte. Ctrl-C stops; the same line goes on later."""
    if not name and not locked:
        raise click.UsageError("Which model? To see some: jupyter llmspell model available")
    if locked and (quantization or revision):
        raise click.UsageError("--locked takes what llmspell.lock says: leave -q and --revision.")

    def pull(models: LocalModels) -> PullProgress | list[str]:
        rate = sizes.rate(limit) if limit else 0
        if locked:
            file = Path.cwd() / lock.NAME
            names = [name] if name else []
            for request in models.locked(file, names, force=force, bytes_per_second=rate):
                _watch(models, models.pull(request))
            return models.check_lock(file, names, fetched=True)
        request = models.request(
            name,
            quantization=quantization,
            revision=revision,
            force=force,
            bytes_per_second=rate,
        )
        return _watch(models, models.pull(request))

    with plain_errors():
        done = _with_models(options, pull)
    if isinstance(done, list):
        options.say(model_texts.agrees(done, lock.NAME), {"status": "success", "notes": done})
        return
    facts = model_texts.progress_facts(done)
    names = ("model_id", "percent_complete", "bytes_downloaded", "bytes_total")
    reply = {each: facts[each] for each in names} | {"download_status": facts["status"]}
    text = in_terminal(model_texts.pulled(done, place="in a notebook"))
    options.say(text, {"status": "success"} | reply)


@model.command("verify")
@click.argument("name", metavar="SPEC")
@click.pass_obj
def model_verify(options: Options, name: str) -> None:
    """Compare the bytes of a model with what was published; exit status 1 when they differ."""
    with plain_errors():
        done = _with_models(options, lambda models: _watch(models, models.verify(name)))
    options.say(model_texts.verified(done), {"status": "success", "model_id": done.model})


@model.command("remove")
@click.argument("name", metavar="SPEC")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def model_remove(options: Options, name: str, yes: bool) -> None:
    """Delete a model that was pulled."""
    if not yes and sys.stdin.isatty():
        click.confirm(f"Remove {name}?", abort=True, err=True)
    with plain_errors():
        freed = _with_models(options, lambda models: models.remove(name))
    options.say(model_texts.removed(name, freed), {"status": "success", "bytes": freed})


@model.command("gc")
@click.option("--dry-run", is_flag=True, help="Only show it.")
@click.pass_obj
def model_gc(options: Options, dry_run: bool) -> None:
    """Delete files that no model needs."""
    with plain_errors():
        found = _with_models(options, lambda models: models.gc(dry_run=dry_run))
    command = "jupyter llmspell model gc"
    text = in_terminal(model_texts.garbage(found, dry_run=dry_run, command=command))
    options.say(text, found)


@model.command("lock")
@click.argument("names", metavar="[SPEC]...", nargs=-1)
@click.option("--check", is_flag=True, help="Compare with the file; exit status 1 on differences.")
@click.pass_obj
def model_lock(options: Options, names: tuple[str, ...], check: bool) -> None:
    """Write which models these are into llmspell.lock, byte for byte."""
    file = Path.cwd() / lock.NAME
    with plain_errors():
        if check:
            notes = _with_models(options, lambda models: models.check_lock(file, names))
            options.say(model_texts.agrees(notes, lock.NAME), {"notes": notes})
            return
        made = _with_models(options, lambda models: models.lock(names, file))
    options.say(model_texts.locked(made, lock.NAME), {"file": str(file)})


@model.command("status")
@click.pass_obj
def model_status(options: Options) -> None:
    """Say which backends run, and how many models each has."""

    def status(models: LocalModels) -> dict[str, Any]:
        server = models.ollama()
        return {
            "candle": {"ready": True, "models": len(models.installed())},
            "ollama": server | {"models": len(server["models"])},
        }

    with plain_errors():
        facts = _with_models(options, status)
    options.say(model_texts.status(facts), facts)


def _watch(models: LocalModels, pull: Pull) -> PullProgress:
    """Wait for a pull, with a line on the terminal; Ctrl-C ends it."""
    live = sys.stderr.isatty()
    told = ""
    try:
        with models.watching(pull) as steps:
            done = None
            for done in steps:
                line = f"{done.model} · {done.phase}"
                if live:
                    count = f" · {done.percent} %" if done.percent is not None else ""
                    click.echo(f"\r\x1b[K{line}{count}", nl=False, err=True)
                elif line != told:
                    click.echo(line, err=True)
                told = line
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(
            "Stopped; what has come is kept.", hint=f"The same line goes on: {this_line()}"
        ) from None
    finally:
        if live:
            click.echo("\r\x1b[K", nl=False, err=True)
    assert done is not None
    return done


@model.command("load")
@click.argument("name", required=False)
@click.pass_obj
def model_load(options: Options, name: str | None) -> None:
    """Get a model ready in the running engine; without a name the profile's."""

    def load(client: EngineClient) -> Ready:
        # One that this command started would end with it.
        if client.status() is None:
            raise EngineUnavailable(
                "No engine is running.",
                hint="Open a notebook, or type: jupyter llmspell engine serve",
            )
        return _with_models(options, lambda models: models.load(name))

    with plain_errors():
        ready = with_client(load)
    facts = ready.metadata
    options.say(f"{facts['model']} is ready on {facts['device']}: {facts['device_reason']}", facts)


@model.command("unload")
@click.argument("name")
@click.option("--force", is_flag=True, help="Also while it works.")
@click.pass_obj
def model_unload(options: Options, name: str, force: bool) -> None:
    """End the processes that hold a model; their memory is free afterwards."""
    with plain_errors():
        target = named(name)[1]
        count = with_client(lambda client: client.unload(target, force=force))
    options.say(f"{name} is unloaded." if count else f"{name} is not loaded.", {"unloaded": count})
