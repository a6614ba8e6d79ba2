"""The engine's API as data: what requests may say, what answers look like, what a client reads.

Source: https://platform.openai.com/docs/api-reference. Fields of our own stand under
``llmspell``: in a request ``{"progress": true, "persona", "options": {...}, "lookup": {...}}``,
the last two being the fields of ``LoadOptions`` and ``Lookup``; in the last value of an answer
its metadata.
"""
