"""What an Ollama server has, and pulls by it.

The server keeps its own files, of which it tells nothing but progress. Every function raises
``Unreachable`` when none answers within 2 seconds.

    connection  reaching it, and what its errors mean
    server      questions, and taking a model away
    pulling     a pull by it
    progress    how far that is
"""

from llmspell_jupyter.models.ollama.connection import LIBRARY
from llmspell_jupyter.models.ollama.pulling import pull
from llmspell_jupyter.models.ollama.server import Running, delete, running, show, tags, version

__all__ = ["LIBRARY", "Running", "delete", "pull", "running", "show", "tags", "version"]
