"""What the hub has: which files of a repository make a model, and which models there are.

``huggingface_hub`` speaks for us: its session, its errors and its values. The bytes of files are
fetched by ``models/pull``.
"""

from __future__ import annotations

from llmspell_jupyter.models.hub.planning import Plan, RemoteFile, file_url, plan
from llmspell_jupyter.models.hub.searching import search

__all__ = ["Plan", "RemoteFile", "file_url", "plan", "search"]
