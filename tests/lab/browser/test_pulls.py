"""Downloads in the sidebar: progress, pause, resume, cancel, and a page that is loaded again."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.lab.browser.cells import theme
from tests.lab.browser.sidebar import Sidebar, beside, engine
from tests.support import pulls
from tests.support.browser import Lab
from tests.support.hub_server import Hub

SIZE = 16 * 1024**2

# Draws of the bar, counted where they happen.
_COUNT = """() => {
  window.draws = [];
  const bar = document.querySelector('#llmspell-panel [role=progressbar]');
  new MutationObserver(() => window.draws.push(performance.now()))
    .observe(bar.closest('li'), {subtree: true, attributes: true, characterData: true, childList: true});
}"""


@pytest.fixture
def name(hub: Hub, request: pytest.FixtureRequest) -> Iterator[str]:
    """A model of the hub that comes slowly until the hub is mended."""
    word = re.sub(r"\W|test|_", "", request.node.name)[:20]
    made = f"lab/{word}"
    hub.add(made, pulls.files(SIZE, seed=len(word)), license="mit")
    hub.fault(f"{made}/{pulls.WEIGHTS}", "drip", bytes_per_second=200_000)
    yield made
    hub.mend()
    with engine() as running:
        for job in running.jobs() if running else []:
            running.http.post(f"/api/jobs/{job['id']}/cancel", json={"discard": True})


def begin(side: Sidebar, name: str) -> None:
    """Find a model on the hub and begin to pull it."""
    side.filter(name, hub=True)
    offer = side.section("Catalog").locator("li").filter(has_text=name).first
    side.unfold(offer)
    offer.get_by_role("button", name=re.compile("^Pull ")).click()
    side.wait_for_percent(name, 1)


def test_pause_and_resume(opened: Lab, hub: Hub, name: str) -> None:
    with beside(opened, "pause") as side:
        begin(side, name)
        job = side.job(name)
        expect(job).to_contain_text(re.compile(r"\d+ % · .* MB of 16\.8 MB"))
        expect(job).to_contain_text(re.compile(r"/s · .* left"))
        expect(side.section("Catalog")).to_contain_text(re.compile(r"\d+ %"))
        side.picture("pull")
        theme(side.book, "Dark")
        side.picture("pull-dark")
        theme(side.book, "Light")
        job.get_by_role("button", name=f"Pause the download of {name}").focus()
        side.book.page.keyboard.press("Enter")
        expect(job).to_contain_text("paused")
        expect(side.section("At work").locator(":focus")).to_have_count(1)
        before = side.percent(name)
        assert before > 0
        side.picture("paused")
        side.book.reload()
        side.show()
        expect(side.job(name)).to_contain_text("paused")
        side.job(name).get_by_role("button", name=f"Go on with the download of {name}").click()
        side.wait_for_percent(name, before)
        hub.mend()
        side.section("On this machine").locator("li").filter(has_text=name).wait_for()
        expect(side.job(name)).to_have_count(0)
        side.picture("pulled")


def test_resume_asks_for_the_same(opened: Lab, hub: Hub, name: str) -> None:
    wanted = hub.repositories[name].resolve("main")
    assert wanted is not None
    hub.add(name, pulls.files(1024, seed=1))
    line = f"%model_pull {name} --revision {wanted.sha} --background"
    with beside(opened, "again", "%load_ext llmspell_jupyter", line) as side:
        side.book.run_to_end(0)
        side.book.run_to_end(1)
        side.wait_for_percent(name, 1)
        job = side.job(name)
        job.get_by_role("button", name=f"Pause the download of {name}").click()
        job.get_by_role("button", name=f"Go on with the download of {name}").click()
        hub.mend()
        side.section("On this machine").locator("li").filter(has_text=name).wait_for()
    snapshots = _store() / "hub" / f"models--{name.replace('/', '--')}" / "snapshots"
    assert [each.name for each in snapshots.iterdir()] == [wanted.sha]


def test_cancel_deletes(opened: Lab, name: str, hub: Hub) -> None:
    with beside(opened, "cancel") as side:
        begin(side, name)
        side.wait_for_percent(name, 3)
        cancel = side.job(name).get_by_role("button", name=f"Cancel the download of {name}")
        cancel.click()
        dialog = side.book.page.get_by_role("dialog")
        side.picture("cancel")
        dialog.get_by_role("button", name="Keep").click()
        expect(cancel).to_be_visible()
        cancel.click()
        dialog.get_by_role("button", name="Delete").click()
        expect(side.job(name)).to_have_count(0)
        message = side.panel.get_by_role("status").first
        expect(message).to_contain_text("nothing of it is kept")
        store = _store()
        assert not [each for each in store.rglob("*") if each.is_file() and name[4:] in str(each)]


def test_a_page_that_is_loaded_again_shows_it(opened: Lab, name: str) -> None:
    with beside(opened, "reload") as side:
        begin(side, name)
        side.book.reload()
        side.show()
        before = side.percent(name)
        side.wait_for_percent(name, before + 1)
        side.picture("pull-after-reload")


def test_four_updates_a_second(opened: Lab, name: str) -> None:
    with beside(opened, "updates") as side:
        begin(side, name)
        side.book.page.evaluate(_COUNT)
        began = time.monotonic()
        side.book.page.wait_for_timeout(4000)
        draws = side.book.page.evaluate("window.draws")
        seconds = time.monotonic() - began
        # Changes of one drawing come together.
        times = [each for i, each in enumerate(draws) if not i or each - draws[i - 1] > 5]
        print(f"{len(times) / seconds:.1f} updates a second")
        assert len(times) / seconds >= 4


def test_what_fails_says_why(opened: Lab, hub: Hub) -> None:
    name = "lab/closed"
    hub.add(name, pulls.files(1024), gated=True)
    with beside(opened, "fails") as side:
        side.filter(name, hub=True)
        offer = side.section("Catalog").locator("li").filter(has_text=name).first
        expect(offer).to_contain_text("asks for terms")
        side.unfold(offer)
        offer.get_by_role("button", name=re.compile("^Pull ")).click()
        expect(side.job(name)).to_contain_text("failed")
        expect(side.job(name)).to_contain_text("no token is set")
        side.picture("failed")
        side.job(name).get_by_role("button", name=f"Show no more of {name} here").click()
        expect(side.job(name)).to_have_count(0)


def _store() -> Path:
    return Path(os.environ["HF_HOME"])
