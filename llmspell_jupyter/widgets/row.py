"""A row of the browser. Rows are made once and show one model after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
from ipywidgets.widgets.widget_string import LabelStyle

from llmspell_jupyter.widgets import comms
from llmspell_jupyter.widgets.judgement import Judgement, Light
from llmspell_jupyter.widgets.looks import Look

HEADS = ("Model", "Size", "Quant.", "Fit", "Licence", "State")
_FIT = 3

# Of the columns; those that are empty share what is left.
_WIDTHS = ("", "68px", "78px", "140px", "84px", "")
_BUTTON = {"width": "62px", "margin": "1px", "padding": "0 2px"}

# Narrower, a row is scrolled.
_LEAST = "740px"

_COLOURS: dict[Light, str] = {"green": "#2e7d32", "amber": "#b26a00", "red": "#c62828"}


class Parts:
    """Layouts and styles that all rows share: a widget more for each would cost time."""

    def __init__(self) -> None:
        self.row = ipywidgets.Layout(align_items="center", min_width=_LEAST)
        self.absent = ipywidgets.Layout(display="none")
        self.columns = [
            ipywidgets.Layout(width=width, flex="0 0 auto")
            if width
            else ipywidgets.Layout(flex="1 1 90px" if number else "2 1 130px", min_width="90px")
            for number, width in enumerate(_WIDTHS)
        ]
        self.bar = ipywidgets.Layout(width="136px", flex="0 0 auto", margin="2px 6px 2px 2px")
        self.button = ipywidgets.Layout(**_BUTTON, flex="0 0 auto")
        self.buttons = ipywidgets.Layout(width="196px", flex="0 0 auto")
        self.plain = LabelStyle()
        self.head = LabelStyle(font_weight="bold")
        self.lights = {light: LabelStyle(text_color=colour) for light, colour in _COLOURS.items()}
        self.press = ipywidgets.ButtonStyle()

    def heading(self) -> ipywidgets.HBox:
        """The row above the rows."""
        labels = [
            ipywidgets.Label(head, layout=layout, style=self.head)
            for head, layout in zip(HEADS, self.columns, strict=True)
        ]
        room = ipywidgets.HBox(layout=self.buttons)
        return ipywidgets.HBox([*labels, room], layout=self.row)

    def close(self) -> None:
        """Give them up."""
        for each in (*self.columns, *self.lights.values(), *vars(self).values()):
            if isinstance(each, ipywidgets.Widget):
                each.close()


class Row:
    """Labels, a bar and three buttons.

    Attributes:
        box: The widget.
        key: The model it shows; None while it is empty.

    Args:
        press: Called with the row and ``act``, ``remove`` or ``copy`` when a button is pressed.
    """

    def __init__(self, parts: Parts, press: Callable[[Row, str], None]):
        self.key: str | None = None
        self._parts = parts
        self._labels = [
            ipywidgets.Label(layout=layout, style=parts.plain) for layout in parts.columns
        ]
        self._bar = ipywidgets.IntProgress(0, 0, 1000, layout=parts.absent)
        self._act = self._button("Pull", lambda _: press(self, "act"))
        self._remove = self._button("Remove", lambda _: press(self, "remove"))
        self._copy = self._button("Copy", lambda _: press(self, "copy"))
        buttons = ipywidgets.HBox([self._act, self._remove, self._copy], layout=parts.buttons)
        self.box = ipywidgets.HBox(
            [*self._labels[:_FIT], self._bar, *self._labels[_FIT:], buttons], layout=parts.absent
        )

    def clear(self) -> None:
        """Show nothing."""
        self.key = None
        self.box.layout = self._parts.absent

    def show(self, key: str, look: Look) -> None:
        """Show a model; only what differs is sent to the page."""
        self.key = key
        fit = look.fit
        texts = (look.name, look.size, look.quantization, fit.words if fit else "…", look.license)
        for label, value in zip(self._labels, (*texts, look.state), strict=True):
            label.value = value
        self._labels[0].tooltip = look.hint
        self._labels[-1].tooltip = look.state
        self._show_fit(fit)
        self._show_share(look.share)
        self._set(self._act, look.verb, f"{look.verb} {look.name}", look.able)
        remove = ("Sure?", f"Press again to delete {look.name}") if look.asking else None
        self._set(self._remove, *(remove or ("Remove", f"Delete {look.name}")), look.removable)
        self._remove.button_style = "danger" if look.asking else ""
        self._set(self._copy, "Copy", f"Put {look.name} into the box below, to copy", True)
        self.box.layout = self._parts.row

    def _show_fit(self, fit: Judgement | None) -> None:
        label = self._labels[_FIT]
        label.tooltip = fit.detail if fit else "not judged yet"
        label.style = (fit and self._parts.lights.get(fit.light)) or self._parts.plain

    def _show_share(self, share: int | None) -> None:
        """A bar takes the place of the light: what is under way has been decided."""
        idle = share is None
        self._bar.value = share or 0
        self._bar.layout = self._parts.absent if idle else self._parts.bar
        self._labels[_FIT].layout = self._parts.columns[_FIT] if idle else self._parts.absent

    def _button(self, name: str, pressed: Callable[[Any], None]) -> ipywidgets.Button:
        button = ipywidgets.Button(
            description=name, layout=self._parts.button, style=self._parts.press
        )
        button.on_click(pressed)
        comms.answer_at_once(button)
        return button

    def _set(self, button: ipywidgets.Button, name: str, hint: str, able: bool) -> None:
        button.description = name
        button.tooltip = hint
        button.disabled = not able
