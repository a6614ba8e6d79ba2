"""Text to tokens and back."""

from __future__ import annotations

import ctypes
from typing import Any

from llmspell_jupyter.errors import RequestError


class Vocabulary:
    """Text to tokens and back, for one loaded model."""

    def __init__(self, lib: Any, model: Any):
        self._lib = lib
        self.handle = lib.llama_model_get_vocab(model)
        self.size: int = lib.llama_vocab_n_tokens(self.handle)
        self._bos: int = lib.llama_vocab_bos(self.handle)
        self._eos: int = lib.llama_vocab_eos(self.handle)
        self._sep: int = lib.llama_vocab_sep(self.handle)
        self._buffer = ctypes.create_string_buffer(256)

    @property
    def bos_text(self) -> str:
        """Text of the token that begins a sequence; empty when there is none."""
        return self._text(self._bos)

    @property
    def eos_text(self) -> str:
        """Text of the token that ends one; empty when there is none."""
        return self._text(self._eos)

    def prompt(self, text: str) -> list[int]:
        """Tokens of a plain prompt, between those that the model wants around it.

        Raises:
            RequestError: The prompt is empty and this model has no token to begin with.
        """
        lib = self._lib
        first = [self._bos] if lib.llama_vocab_get_add_bos(self.handle) and self._bos >= 0 else []
        last = [self._sep] if self._sep >= 0 else []
        if not last and lib.llama_vocab_get_add_eos(self.handle):
            last = [self._eos]
        tokens = first + self.tokenize(text) + last
        if not tokens and self._bos < 0:
            raise RequestError("The prompt is empty.", data={"field": "prompt"})
        return tokens or [self._bos]

    def tokenize(self, text: str) -> list[int]:
        """Tokens of text that holds its special tokens already; none are added."""
        return self._tokenize(text, add=False, parse=True)

    def plain(self, text: str) -> list[int]:
        """Tokens of text in which nothing is a special token, with those of the model around."""
        return self._tokenize(text, add=True, parse=False)

    def piece(self, token: int) -> bytes:
        """Bytes of a token; those of special tokens are empty."""
        buffer = self._buffer
        size = self._lib.llama_token_to_piece(self.handle, token, buffer, len(buffer), 0, False)
        if size < 0:
            self._buffer = ctypes.create_string_buffer(-size)
            return self.piece(token)
        return ctypes.string_at(buffer, size)

    def shown(self, token: int) -> bytes:
        """Bytes of a token as a reader would see it, those of special tokens included."""
        buffer = ctypes.create_string_buffer(1024)
        size = self._lib.llama_token_to_piece(self.handle, token, buffer, len(buffer), 0, True)
        return ctypes.string_at(buffer, max(0, size))

    def _tokenize(self, text: str, *, add: bool, parse: bool) -> list[int]:
        data = text.encode()
        # No token is shorter than a byte, but some vocabularies put a space in front.
        room = len(data) + 8
        tokens = (ctypes.c_int32 * room)()
        count = self._lib.llama_tokenize(self.handle, data, len(data), tokens, room, add, parse)
        if count < 0:
            raise RequestError(f"The prompt of {len(data):,} bytes could not be tokenized.")
        return tokens[:count]

    def _text(self, token: int) -> str:
        if token < 0:
            return ""
        text: bytes = self._lib.llama_vocab_get_text(self.handle, token) or b""
        return text.decode("utf-8", "replace")
