"""Widgets and the page: answered while a cell runs, and gone when they are closed."""

from __future__ import annotations

import ipywidgets


def answer_at_once(widget: ipywidgets.Widget) -> None:
    """Let what the user does to this widget be handled while a cell runs.

    JupyterLab sends such messages to a thread of their own. ipykernel 7.4 sends them on to where
    the widget was last changed from, which for one made in a cell is the main thread: busy for as
    long as the cell runs. Its other versions have no such method and obey the page.
    """
    comm = widget.comm
    if hasattr(comm, "_reply_subshell_for"):
        comm._reply_subshell_for = lambda data, default: default


def close(*widgets: ipywidgets.Widget) -> None:
    """Close these and all inside them; none of it stays in the kernel or on the page."""
    for widget in widgets:
        close(*getattr(widget, "children", ()))
        for name in ("layout", "style"):
            part = getattr(widget, name, None)
            if isinstance(part, ipywidgets.Widget):
                part.close()
        widget.close()
