"""Models as a notebook of this server would see them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from llmspell_jupyter.config import administrator, loading

if TYPE_CHECKING:
    from llmspell_jupyter.engine.client import EngineClient
    from llmspell_jupyter.runtime.local_models import LocalModels
    from llmspell_jupyter.runtime.runtime import Runtime


class Models:
    """What variables, files and the administrator say now. Blocks; for threads.

    Args:
        client: The user's engine.
    """

    def __init__(self, client: EngineClient):
        self._client = client
        self._lock = threading.Lock()
        self._runtime: Runtime | None = None

    def now(self) -> LocalModels:
        """What can be done with models under the configuration of a notebook that starts now.

        Raises:
            ConfigError: The configuration is wrong.
        """
        # Loaded when it is first needed: it brings the Lua machine along.
        from llmspell_jupyter.runtime.local_models import LocalModels
        from llmspell_jupyter.runtime.runtime import Runtime

        with self._lock:
            if self._runtime is None:
                self._runtime = Runtime(self._client)
            else:
                loaded = loading.load(admin=administrator.policy())
                if loaded != self._runtime.profile:
                    self._runtime.apply(loaded)
            return LocalModels(self._runtime)
