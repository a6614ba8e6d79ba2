"""The engine's addresses: what comes over HTTP, handed to the engine, and its answers."""
