"""What stands above and below the rows of the browser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from llmspell_jupyter.widgets import comms, filtering
from llmspell_jupyter.widgets.filtering import Choice

_LINES = 3


class Controls:
    """Filter, sort, page and buttons; messages and the box to copy from.

    Attributes:
        top: The widget above the rows.
        foot: The one below.

    Args:
        choose: Called when the user wants to see others.
        turn: Called when the user turns the page.
        search: Called with words to ask the hub for.
        refresh: Called when everything should be looked up again.
        close: Called when the browser should go.
    """

    def __init__(
        self,
        *,
        choose: Callable[[], None],
        turn: Callable[[], None],
        search: Callable[[str], None],
        refresh: Callable[[], None],
        close: Callable[[], None],
    ):
        self._filter = ipywidgets.Text(
            placeholder="Filter by words",
            tooltip="Words of name, licence or state; Search hub looks for them there",
            # It takes the room that is left, so that the buttons stay on its line.
            layout={"flex": "1 1 110px", "width": "110px", "max_width": "240px"},
        )
        self._show = _dropdown("Show", filtering.SHOWN, "110px")
        self._sort = _dropdown("Sort", filtering.ORDERS, "90px")
        self._page = ipywidgets.BoundedIntText(
            1,
            min=1,
            max=1,
            description="Page",
            tooltip="Page; arrow keys turn it",
            layout={"width": "90px"},
            style={"description_width": "36px"},
        )
        self._count = ipywidgets.Label("", layout={"width": "auto"})
        self._turning = False
        self._filter.observe(lambda _: choose(), "value")
        self._show.observe(lambda _: choose(), "value")
        self._sort.observe(lambda _: choose(), "value")
        self._page.observe(lambda _: None if self._turning else turn(), "value")
        find = _button(
            "Search hub", "Ask the hub for these words", lambda: search(self.choice.text)
        )
        buttons = [
            _button("Refresh", "Look everything up again", refresh),
            _button("Close", "Close the browser; pulls go on", close),
        ]
        asked = [self._show, self._sort, self._page]
        for each in (self._filter, *asked):
            comms.answer_at_once(each)
        self.top = ipywidgets.HBox(
            [self._filter, find, *asked, self._count, *buttons],
            layout={"flex_flow": "row wrap", "align_items": "center"},
        )
        self._lines = [ipywidgets.Label(layout={"display": "none"}) for _ in range(_LINES)]
        self._spec = ipywidgets.Text(
            description="Spec",
            tooltip="Ctrl+A and Ctrl+C copy it",
            layout={"display": "none", "width": "600px"},
            style={"description_width": "36px"},
        )
        comms.answer_at_once(self._spec)
        self.foot = ipywidgets.VBox([self._spec, *self._lines])

    @property
    def choice(self) -> Choice:
        """What the user wants to see."""
        return Choice(self._filter.value, self._show.value, self._sort.value)

    @property
    def page(self) -> int:
        """The page that the user looks at, from 1."""
        return int(self._page.value)

    def page_to(self, page: int, pages: int) -> None:
        """Turn to a page."""
        self.limit(pages)
        self._turning = True
        self._page.value = page
        self._turning = False

    def limit(self, pages: int) -> None:
        """Let the user turn to so many pages."""
        self._turning = True
        self._page.max = pages
        self._turning = False

    def count(self, pages: int, models: int) -> None:
        """Say how many there are."""
        unit = "model" if models == 1 else "models"
        self._count.value = f"of {pages} · {models} {unit}"

    def say(self, lines: Sequence[str]) -> None:
        """Show a message; none clears what was there."""
        for number, label in enumerate(self._lines):
            label.value = lines[number] if number < len(lines) else ""
            label.layout.display = "" if label.value else "none"

    def copy(self, spec: str) -> None:
        """Show a text to copy, and put the cursor into it."""
        self._spec.value = spec
        self._spec.layout.display = ""
        self._spec.focus()


def _dropdown(name: str, options: Sequence[str], width: str) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(
        options=list(options),
        description=name,
        tooltip=f"{name}: {', '.join(options)}",
        layout={"width": "auto", "min_width": width},
        style={"description_width": "36px"},
    )


def _button(name: str, hint: str, pressed: Callable[[], Any]) -> ipywidgets.Button:
    button = ipywidgets.Button(description=name, tooltip=hint, layout={"width": "auto"})
    button.on_click(lambda _: pressed())
    comms.answer_at_once(button)
    return button
