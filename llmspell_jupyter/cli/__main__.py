"""``python -m llmspell_jupyter.cli``: the command, where its script is not on the path."""

from llmspell_jupyter.cli import main

if __name__ == "__main__":
    main(prog_name="jupyter-llmspell")
