"""The engine: one process per user that serves models to every notebook."""
