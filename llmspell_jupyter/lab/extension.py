"""Adds the routes to a Jupyter Server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_server.utils import url_path_join

from llmspell_jupyter.lab import handlers, routes
from llmspell_jupyter.lab.desk import Desk

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

#: Below the server's base URL.
ROOT = "llmspell/api"


def load(server: ServerApp) -> None:
    """Add the routes; nothing is read, asked or started before a page comes."""
    web = server.web_app
    web.settings[handlers.DESK] = Desk()
    base = url_path_join(web.settings["base_url"], ROOT)
    web.add_handlers(".*$", [each.rule(base) for each in routes.ROUTES])
