from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmspell_jupyter.engine.client import EngineClient
from tests.support import hub_server, pulls
from tests.support.engines import in_this_process, runtime_folder, wait_for
from tests.support.hub_server import Hub
from tests.support.jupyter_servers import Server, server

SIZE = 8 * 1024**2
BASE = "/user/x/"


@dataclass
class Place:
    """A server below a path as of a JupyterHub, its user's folders, and a hub of models."""

    server: Server
    hub: Hub
    environment: dict[str, str]
    client: EngineClient

    @property
    def cache(self) -> Path:
        return Path(self.environment["HF_HOME"], "hub")

    def add(self, name: str, *, seed: int = 0, bytes_per_second: int = 0) -> str:
        """A model of the hub, and what its file is called there; as slow as is said."""
        self.hub.add(name, pulls.files(SIZE, seed=seed), license="mit")
        if bytes_per_second:
            key = f"{name}/{pulls.WEIGHTS}"
            self.hub.fault(key, "drip", bytes_per_second=bytes_per_second)
        return name

    def partials(self, name: str) -> list[str]:
        """Files that have come of a pull that is not over."""
        folder = self.cache / f"models--{name.replace('/', '--')}" / ".llmspell"
        return sorted(each.name for each in folder.glob("*.part"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("home")
    room = tmp_path_factory.mktemp("server")
    with hub_server.hub() as hub:
        variables = {**hub.environment, "HOME": str(home), "HF_HOME": str(home / "huggingface")}
        with (
            runtime_folder(**variables) as environment,
            in_this_process(environment),
            server(room, environment, base=BASE) as made,
        ):
            client = EngineClient()
            yield Place(made, hub, environment, client)
            for job in (client.status() or {"jobs": []})["jobs"]:
                client.cancel_job(job["id"])
            wait_for(lambda: not (client.status() or {"jobs": []})["jobs"])
            client.close()
