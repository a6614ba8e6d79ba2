"""Parts of the backend for GGUF models.

The native library is passed to them as ``lib``, because it is imported only when a model loads.
"""
