"""All routes. A further one is a line here."""

from __future__ import annotations

from llmspell_jupyter.lab import acts, views
from llmspell_jupyter.lab.events import Events
from llmspell_jupyter.lab.handlers import Get, Nowhere, Post, Route

#: Ids of jobs are those of ``engine.jobs.new_id``.
_JOB = "([0-9a-f]{32})"

ROUTES = (
    Route("status", Get, views.status),
    Route("models", Get, views.models),
    Route("catalog", Get, views.catalog),
    Route("profiles", Get, views.profiles_),
    Route("config/explain", Get, views.explain),
    Route("events", Events),
    Route("search", Post, acts.search),
    Route("fit", Post, acts.fit),
    Route("info", Post, acts.info),
    Route("pull", Post, acts.pull),
    Route("verify", Post, acts.verify),
    Route("load", Post, acts.load),
    Route("unload", Post, acts.unload),
    Route("remove", Post, acts.remove),
    Route(f"jobs/{_JOB}/cancel", Post, acts.cancel),
)

#: Answers where no other route does; the last one.
NOWHERE = Route("(.*)", Nowhere)
