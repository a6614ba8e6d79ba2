"""What pages read: no engine is started for it, nothing written, no network asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from llmspell_jupyter.config import administrator, loading, profiles
from llmspell_jupyter.engine import messages
from llmspell_jupyter.errors import ConfigError, RequestError
from llmspell_jupyter.lab.desk import Desk
from llmspell_jupyter.lab.handlers import Asked

if TYPE_CHECKING:
    from llmspell_jupyter.runtime.local_models import LocalModels

# No key of the configuration is longer.
_LONGEST = 300


async def status(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """The state of engine, machine and loads."""
    return await desk.watch.status()


async def models(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """Models on this machine, and the mark that the status has as long as these are there."""
    found = await desk.installed.find()
    wire = [messages.model_to_wire(each) for each in found]
    return {"models": wire, "mark": desk.installed.mark}


async def catalog(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """Models that the catalogs name."""

    def look(now: LocalModels) -> dict[str, Any]:
        from llmspell_jupyter.models import available, catalog

        found = [asdict(each) for each in available.known(now.lookup)]
        return {"models": found, "notes": list(catalog.notes(now.lookup))}

    return await desk.look(look)


async def profiles_(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """Profiles that may be loaded, and the one that a notebook starts with."""

    def look() -> dict[str, Any]:
        policy = administrator.policy()
        found = [
            {
                "name": each.name,
                "description": each.about,
                "group": each.group,
                "aliases": list(each.aliases),
            }
            for each in profiles.listing()
            if policy.profiles is None or each.name in policy.profiles
        ]
        try:
            default, problem = loading.load(admin=policy).name, None
        except ConfigError as error:
            default, problem = "", error.to_wire()
        return {"profiles": found, "default": default, "error": problem}

    return await desk.read(look)


async def explain(desk: Desk, asked: Asked) -> Mapping[str, Any]:
    """``?key=&profile=``: where the value of a key comes from, in words."""
    key, profile = asked.query.get("key", ""), asked.query.get("profile", "")
    if not 0 < len(key) <= _LONGEST or len(profile) > _LONGEST:
        raise RequestError(
            "The address names no key of the configuration.",
            hint="Ask for one, such as ?key=providers.candle.default_model",
        )

    def look() -> str:
        return str(loading.load(profile or None, admin=administrator.policy()).explain(key))

    return {"text": await desk.read(look)}
