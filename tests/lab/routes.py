"""Every route of the extension, as the server is given them."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from tornado import web

from llmspell_jupyter.lab import extension

#: What the groups of patterns stand for here.
_SAMPLES = {"([0-9a-f]{32})": "0" * 32, "([^/]+)": "some-kernel", "(.*)": "nowhere"}


def rules() -> list[tuple[str, type[web.RequestHandler]]]:
    """Patterns and handlers, with the root left out of the patterns."""
    found: list[Any] = []
    application = SimpleNamespace(
        settings={"base_url": "/"}, add_handlers=lambda _, rules: found.extend(rules)
    )
    server: Any = SimpleNamespace(web_app=application, kernel_manager=None, event_logger=None)
    extension.load(server)
    root = f"/{extension.ROOT}/"
    assert all(pattern.startswith(root) for pattern, *_ in found)
    return [(pattern.removeprefix(root), handler) for pattern, handler, *_ in found]


def routes() -> list[tuple[str, str]]:
    """Method and path of each route."""
    made = []
    for pattern, handler in rules():
        path = pattern
        for group, sample in _SAMPLES.items():
            path = path.replace(group, sample)
        assert re.fullmatch(pattern, path), f"no sample of {pattern}"
        made += [
            (method, path)
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
            if getattr(handler, method.lower()) is not web.RequestHandler._unimplemented_method
        ]
    return made


ROUTES = routes()
READ = [path for method, path in ROUTES if method == "GET"]
DONE = [path for method, path in ROUTES if method == "POST"]
