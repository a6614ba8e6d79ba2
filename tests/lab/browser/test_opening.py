"""Opening JupyterLab and its notebooks costs next to nothing and harms nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import expect

from tests.support.browser import Lab
from tests.support.engines import in_this_process, runtime_folder
from tests.support.hub_server import Hub

NOTEBOOKS = sorted(Path(__file__).parents[3].joinpath("notebooks").glob("*.ipynb"))
MOST_MS = 50.0

# Lab asks each extension's container for its plugins; here each notes how long it was activated.
_STOPWATCH = """
const NAME = 'llmspell-jupyter';
window.activations = {};
const timed = plugin => {
  const { activate } = plugin;
  plugin.activate = (...parts) => {
    const began = performance.now();
    try {
      return activate(...parts);
    } finally {
      window.activations[plugin.id] = performance.now() - began;
    }
  };
};
let container;
window._JUPYTERLAB = Object.defineProperty({}, NAME, {
  enumerable: true,
  get: () => container,
  set: value => {
    container = {
      init: value.init,
      get: async name => {
        const made = (await value.get(name))();
        if (name === './extension') made.default.forEach(timed);
        return () => made;
      },
    };
  },
});
"""


@pytest.fixture
def fresh(opened: Lab, hub: Hub, tmp_path: Path) -> Iterator[tuple[Lab, dict[str, str]]]:
    """A JupyterLab of whose engine nobody has asked anything, and its environment."""
    variables = {**hub.environment, "HF_HOME": str(tmp_path / "huggingface")}
    with (
        runtime_folder(**variables) as environment,
        in_this_process(environment),
        opened.beside() as made,
    ):
        yield made, environment


def test_opening_notebooks_starts_writes_and_asks_nothing(
    fresh: tuple[Lab, dict[str, str]], hub: Hub
) -> None:
    made, environment = fresh
    assert NOTEBOOKS
    asked = len(hub.requests)
    for path in NOTEBOOKS:
        sources = [cell.source for cell in nbformat.read(path, as_version=4).cells]
        with made.notebook(path.stem, *sources) as book:
            before = (made.root / path.name).read_bytes()
            engine = book.page.locator("#jp-main-statusbar").get_by_text("Engine: off")
            expect(engine).to_be_visible()
            book.page.wait_for_load_state("networkidle")
            assert book.requests == []
            assert book.dialogs == []
            assert (made.root / path.name).read_bytes() == before
    folders = [environment["JUPYTER_RUNTIME_DIR"], environment["JUPYTER_DATA_DIR"]]
    written = [path for folder in folders for path in Path(folder).rglob("*llmspell*")]
    assert written == []
    assert not Path(environment["HF_HOME"]).exists()
    assert {path.name for path in made.root.iterdir()} - {".ipynb_checkpoints"} == {
        path.name for path in NOTEBOOKS
    }
    assert len(hub.requests) == asked


def test_plugins_are_activated_in_no_time(opened: Lab) -> None:
    with opened.notebook("activation", "1") as book:
        book.page.add_init_script(_STOPWATCH)
        times: list[dict[str, float]] = []
        for _ in range(2):
            book.reload()
            times.append(book.page.evaluate("window.activations"))
    assert len(times[0]) >= 8
    # What other programs do meanwhile only adds.
    least = {name: min(each[name] for each in times) for name in times[0]}
    print({name: f"{value:.1f} ms" for name, value in least.items()})
    assert max(least.values()) <= MOST_MS, times
