"""A real JupyterLab in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import nbformat
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.engines import PATIENCE, gone_within, wait_for

CHROMIUM = Path("/usr/bin/chromium")
INSTALL = "apt-get update && apt-get install -y --no-install-recommends chromium fonts-dejavu-core"

_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
]

_LAB_CONFIG = """
c.LabApp.expose_app_in_browser = True
c.JupyterNotebookApp.expose_app_in_browser = True
c.LabApp.workspaces_dir = {workspaces!r}
c.LabApp.user_settings_dir = {settings!r}
c.LabApp.news_url = None
c.ServerApp.ip = "127.0.0.1"
c.ServerApp.port = {port}
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.allow_root = True
c.ServerApp.root_dir = {root!r}
c.IdentityProvider.token = {token!r}
"""

_SETTINGS = {
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    # Cells that are placed by guesses of their height may cover the controls of others.
    "notebook-extension/tracker": {"windowingMode": "none"},
}

# A notebook whose indicator says idle may still drop what it is asked to run.
_READY = """() => {
  const panel = window.jupyterapp && window.jupyterapp.shell.currentWidget;
  const session = panel && panel.sessionContext && panel.sessionContext.session;
  const kernel = session && session.kernel;
  return !!kernel && panel.context.isReady && panel.sessionContext.isReady
    && kernel.connectionStatus === 'connected' && kernel.status === 'idle';
}"""

_CONNECTED = _READY.replace(" && kernel.status === 'idle'", "")


def chromium() -> str:
    """The browser's path; where it is missing it is installed.

    Raises:
        AssertionError: It is missing and cannot be installed; the message says how to.
    """
    if not CHROMIUM.exists():
        with filelock.FileLock(Path(tempfile.gettempdir(), "llmspell-chromium.lock")):
            if not CHROMIUM.exists():
                _install()
    return str(CHROMIUM)


def _install() -> None:
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    done = None
    if shutil.which("apt-get") and (not sudo or shutil.which("sudo")):
        done = subprocess.run(
            [*sudo, "sh", "-c", INSTALL],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    said = f"\n{done.stdout[-2000:]}{done.stderr[-2000:]}" if done else ""
    assert CHROMIUM.exists(), f"These tests need a browser. As root, type:\n{INSTALL}{said}"


class Lab:
    """A JupyterLab and a browser that looks at it.

    Attributes:
        root: Folder of its notebooks.
        port: Where it listens.
        pictures: Folder of screenshots.
    """

    def __init__(self, root: Path, port: int, token: str, browser: Browser):
        self.root = root
        self.port = port
        self._token = token
        self._browser = browser
        chosen = os.environ.get("SCREENSHOTS_OF_TESTS")
        self.pictures = Path(chosen or tempfile.mkdtemp(prefix="llmspell-pictures-"))
        self.pictures.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def beside(self, **variables: str) -> Iterator[Lab]:
        """Another JupyterLab for the same browser, of which there is one at a time."""
        with _server(variables) as (root, port, token):
            yield Lab(root, port, token, self._browser)

    @contextmanager
    def notebook(
        self, name: str, *cells: str, page: str = "lab/tree", minor: int = 5
    ) -> Iterator[LabNotebook]:
        """A notebook with these cells, open and with its kernel ready.

        Args:
            name: Of its file, without the ending.
            cells: What is in its cells.
            page: ``lab/tree`` is JupyterLab, ``notebooks`` Notebook 7.
            minor: Of its format; before 4.5 the file has no ids of its cells.
        """
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in cells])
        book.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
        book.nbformat_minor = minor
        if minor < 5:
            for cell in book.cells:
                del cell["id"]
        nbformat.write(book, self.root / f"{name}.ipynb")
        context = self._browser.new_context(viewport={"width": 1280, "height": 900})
        tab = context.new_page()
        shown = LabNotebook(self, tab, name)
        try:
            shown.open(
                f"http://127.0.0.1:{self.port}/{page}/{name}.ipynb?token={self._token}&reset"
            )
            shown.wait_until_ready()
            yield shown
        except BaseException:
            shown.picture(f"{name}-failed")
            print(f"screenshot: {self.pictures / f'{name}-failed.png'}")
            raise
        finally:
            # Kernels pile up otherwise.
            tab.evaluate("window.jupyterapp.serviceManager.sessions.shutdownAll()")
            context.close()


class LabNotebook:
    """A notebook in the browser.

    Attributes:
        page: Playwright's page.
        dialogs: Texts of the dialogs that scripts of the page opened.
        requests: Addresses beyond the server's own that the page asked for.
    """

    def __init__(self, lab: Lab, page: Page, name: str):
        self.page = page
        self.dialogs: list[str] = []
        self.requests: list[str] = []
        self._lab = lab
        self._name = name
        page.set_default_timeout(30_000)
        page.on("dialog", self._dialog)
        page.on("request", lambda request: self._request(request.url))

    def _dialog(self, dialog: Any) -> None:
        # Lab's own question before a page with changes is left is not of a script.
        if dialog.type != "beforeunload":
            self.dialogs.append(dialog.message)
        dialog.accept()

    def _request(self, url: str) -> None:
        own = f"://127.0.0.1:{self._lab.port}/"
        if own not in url and not url.startswith(("data:", "blob:", "about:")):
            self.requests.append(url)

    def open(self, address: str) -> None:
        """Go to this address; its kernel may still be on its way, or at work."""
        self.page.goto(address)
        self.page.wait_for_function("() => !!window.jupyterapp", timeout=60_000)
        self.page.evaluate("async () => { await window.jupyterapp.restored; }")

    def wait_until_ready(self) -> None:
        """Wait until the notebook in front would run what it is asked to."""
        self.page.wait_for_function(_READY, timeout=60_000)

    def reload(self) -> None:
        """Load the page again, as the browser's own button does; the kernel goes on."""
        self._come(self.page.url)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Leave the page, as the browser's closing does; it is loaded again afterwards."""
        address = self.page.url
        self.page.goto("about:blank")
        yield
        self._come(address)

    def _come(self, address: str) -> None:
        self.open(address)
        self.page.wait_for_function(_CONNECTED, timeout=60_000)

    def interrupt(self) -> None:
        """Interrupt the kernel."""
        self.page.evaluate("window.jupyterapp.commands.execute('notebook:interrupt-kernel')")

    def restart(self) -> None:
        """Put a fresh kernel into the place of this one, whatever it does."""
        self.page.evaluate(
            "async () => { const panel = window.jupyterapp.shell.currentWidget;"
            " await panel.sessionContext.restartKernel(); }"
        )
        self.wait_until_ready()

    def change_kernel(self, name: str) -> None:
        """Put a kernel of another kind into the place of this one; it may never be ready."""
        self.page.evaluate(
            """async name => {
              const { sessionContext } = window.jupyterapp.shell.currentWidget;
              await sessionContext.changeKernel({ name });
            }""",
            name,
        )

    def run(self, number: int) -> None:
        """Run a cell, counted from 0; does not wait for its end."""
        self.page.evaluate(
            """number => {
              const panel = window.jupyterapp.shell.currentWidget;
              panel.content.activeCellIndex = number;
              window.jupyterapp.commands.execute('notebook:run-cell').catch(() => {});
            }""",
            number,
        )

    def run_to_end(self, number: int) -> None:
        """Run a cell and wait for its end."""
        self.run(number)
        self.wait_for_end(number)

    def wait_for_end(self, number: int) -> None:
        """Wait until a cell has run."""
        self.page.wait_for_function(
            """number => {
              const panel = window.jupyterapp.shell.currentWidget;
              const model = panel.content.widgets[number].model;
              return model.executionCount !== null
                && model.sharedModel.executionState !== 'running'
                && panel.sessionContext.session.kernel.status === 'idle';
            }""",
            arg=number,
        )

    def running(self, number: int) -> bool:
        """Whether a cell runs now."""
        prompt = self.cell(number).locator(".jp-InputPrompt").inner_text()
        return "*" in prompt

    def cell(self, number: int) -> Any:
        """A cell, as a locator."""
        return self.page.locator(".jp-CodeCell").nth(number)

    def outputs(self, number: int) -> list[dict[str, Any]]:
        """A cell's outputs as they would be saved."""
        text = self.page.evaluate(
            """number => JSON.stringify(window.jupyterapp.shell.currentWidget
                 .content.widgets[number].model.outputs.toJSON())""",
            number,
        )
        found: list[dict[str, Any]] = json.loads(text)
        return found

    def save(self) -> nbformat.NotebookNode:
        """Save it; what is then in the file."""
        self.page.evaluate(
            "async () => { await window.jupyterapp.shell.currentWidget.context.save(); }"
        )
        return nbformat.read(self._lab.root / f"{self._name}.ipynb", as_version=4)

    def picture(self, name: str) -> Path:
        """Take a screenshot."""
        path = self._lab.pictures / f"{name}.png"
        self.page.screenshot(path=path)
        return path


@contextmanager
def lab(**variables: str) -> Iterator[Lab]:
    """A JupyterLab in a private folder, and a browser; its kernels see these variables."""
    program = chromium()
    with _server(variables) as (root, port, token), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        try:
            yield Lab(root, port, token, browser)
        finally:
            browser.close()


@contextmanager
def _server(variables: dict[str, str]) -> Iterator[tuple[Path, int, str]]:
    with (
        tempfile.TemporaryDirectory(prefix="lab-") as room,
        _server_in(Path(room), variables) as served,
    ):
        yield served


@contextmanager
def _server_in(room: Path, variables: dict[str, str]) -> Iterator[tuple[Path, int, str]]:
    folders = {name: str(room / name) for name in ("root", "workspaces", "settings")}
    for each in folders.values():
        Path(each).mkdir()
    for name, values in _SETTINGS.items():
        file = room / "settings/@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    token = secrets.token_hex(16)
    config = room / "jupyter_lab_config.py"
    config.write_text(_LAB_CONFIG.format(port=port, token=token, **folders))
    log = room / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--config", str(config)],
            env=os.environ | variables,
            cwd=room,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: process.poll() is not None or _answers(port, token), 60)
        assert process.poll() is None, log.read_text()[-4000:]
        yield Path(folders["root"]), port, token
    finally:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]
        process.terminate()
        # Jupyter Server waits for ever for a file that it was reading when it was told to end.
        if not gone_within(family, PATIENCE):
            for each in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        process.wait(PATIENCE)


def _answers(port: int, token: str) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api", headers={"Authorization": f"token {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        time.sleep(0.05)
        return False
