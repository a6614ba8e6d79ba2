"""The runtime of a notebook: its profile, its Lua state and the globals that scripts see."""
