"""Adds the routes to a Jupyter Server."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from jupyter_server.utils import url_path_join

from llmspell_jupyter.lab import handlers, routes
from llmspell_jupyter.lab.desk import Desk
from llmspell_jupyter.lab.kernels import Keeper
from llmspell_jupyter.lab.outputs import Outputs
from llmspell_jupyter.lab.processes import owner

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

#: Below the server's base URL.
ROOT = "llmspell/api"


def load(server: ServerApp) -> None:
    """Add the routes; nothing is read, asked or started before a page comes."""
    web = server.web_app
    web.settings[handlers.DESK] = Desk(partial(owner, server.kernel_manager))
    base = url_path_join(web.settings["base_url"], ROOT)
    outputs = Outputs(Keeper(server.kernel_manager, server.event_logger))
    every = (*routes.ROUTES, *outputs.routes, routes.NOWHERE)
    web.add_handlers(".*$", [each.rule(base) for each in every])
