"""Tokens of T5 models: ``tokenizer.json``, SentencePiece's ``spiece.model``, or plain bytes."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from llmspell_jupyter.engine.backends._t5.config import T5Config
from llmspell_jupyter.errors import BackendMissing, BadModelFile
from llmspell_jupyter.models.folder import ModelFolder

_SPACE = "\u2581"  # What stands for a space in pieces.
_LOST = "\ufffd"
_SENTINEL = re.compile(r"<extra_id_(\d{1,4})>")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")

# ByT5: padding, end and unknown come before the 256 bytes, sentinels after them.
_BYTES_FROM = 3
_BYTE_SENTINELS = 125

# Bytes of the longest character.
_LONGEST_CHARACTER = 4


class Tokenizer(ABC):
    """Turns text into tokens and tokens into text.

    Attributes:
        size: Tokens that it knows; it makes none from there on.
    """

    size: int

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The tokens of a text, with the token that ends it."""

    @abstractmethod
    def writer(self) -> Callable[[int], bytes]:
        """A function that takes the tokens of one answer in order and returns the bytes of each.

        Some are empty, and a character may come in parts. Together they are the text of the
        whole answer; tokens that stand for no text, such as sentinels, add nothing.
        """

    @abstractmethod
    def piece(self, token: int) -> bytes:
        """The bytes of a token by itself; the name of one that stands for no text."""


def load_tokenizer(folder: ModelFolder, config: T5Config) -> Tokenizer:
    """The tokenizer of the T5 model in a folder.

    Raises:
        BackendMissing: The library that reads it is not installed.
        BadModelFile: There is none, it cannot be read, or it does not go with the weights.
    """
    tokenizer = _load(folder, config)
    if tokenizer.size > config.vocab_size:
        raise _bad(
            folder.path,
            f"the tokenizer knows {tokenizer.size:,} tokens, the model {config.vocab_size:,}",
        )
    return tokenizer


def _load(folder: ModelFolder, config: T5Config) -> Tokenizer:
    end = config.ends[0]
    if path := folder.file("tokenizer.json"):
        return _FromJson(path, end)
    said = folder.json("tokenizer_config.json") or {}
    if path := folder.file("spiece.model"):
        return _FromSentencePiece(path, end, said.get("extra_ids", 100))
    if "ByT5Tokenizer" in (said.get("tokenizer_class"), folder.config.get("tokenizer_class")):
        return _Bytes(end, min(_BYTE_SENTINELS, config.vocab_size - _BYTES_FROM - 256))
    raise _bad(folder.path, "it holds neither tokenizer.json nor spiece.model")


class _FromJson(Tokenizer):
    """A ``tokenizer.json``, through the library tokenizers."""

    def __init__(self, path: Path, end: int):
        library = _library("tokenizers")
        try:
            self._tokenizer = library.Tokenizer.from_file(str(path))
        except Exception as error:  # The library raises nothing more special.
            raise _bad(path, str(error)) from None
        # A file can ask for texts to be cut or filled up. Nothing here is cut without a word.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._end = end
        self._special = {
            number: str(token)
            for number, token in self._tokenizer.get_added_tokens_decoder().items()
            if token.special
        }
        self.size = max(self._tokenizer.get_vocab().values(), default=-1) + 1
        # Beside another token, one shows the space before it.
        self._beside = self._tokenizer.encode("a", add_special_tokens=False).ids[:1]

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids if ids[-1:] == [self._end] else [*ids, self._end]

    def writer(self) -> Callable[[int], bytes]:
        return _Window(self._decode).push

    def piece(self, token: int) -> bytes:
        name = self._special.get(token) or self._tokenizer.id_to_token(token) or ""
        if token in self._special:
            return name.encode()
        if match := _BYTE.fullmatch(name):
            return bytes.fromhex(match[1])
        beside = self._decode(self._beside)
        return self._decode([*self._beside, token])[len(beside) :].encode()

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text


class _Window:
    """Text of one token after the other, from a function that decodes a row of them.

    Each is decoded together with those that gave the last text, because some decoders treat the
    first token, or the bytes of a character, otherwise.
    """

    def __init__(self, decode: Callable[[list[int]], str]):
        self._decode = decode
        self._before: list[int] = []
        self._shown = ""
        self._pending: list[int] = []

    def push(self, token: int) -> bytes:
        self._pending.append(token)
        text = self._decode(self._before + self._pending)
        if len(text) <= len(self._shown):
            return b""
        if text.endswith(_LOST) and len(self._pending) < _LONGEST_CHARACTER:
            return b""  # A character of several tokens; one that is broken is let go of.
        new = text[len(self._shown) :]
        self._before, self._pending = self._pending, []
        self._shown = self._decode(self._before)
        return new.encode()


class _FromSentencePiece(Tokenizer):
    """A ``spiece.model``; the sentinels of T5 stand behind its pieces, the first one last."""

    def __init__(self, path: Path, end: int, sentinels: Any):
        library = _library("sentencepiece")
        try:
            self._pieces = library.SentencePieceProcessor(model_file=str(path))
            known = self._pieces.get_piece_size()
        except Exception as error:  # The library raises nothing more special.
            raise _bad(path, str(error)) from None
        if type(sentinels) is not int or not 0 <= sentinels <= 10_000:
            raise _bad(path.with_name("tokenizer_config.json"), f"extra_ids is {sentinels!r}")
        self._end = end
        self._known = known
        self.size = known + sentinels
        self._sentinels = {
            name: self._place(name, self.size - 1 - number)
            for number in range(sentinels)
            for name in (f"<extra_id_{number}>",)
        }
        self._names = {token: name for name, token in self._sentinels.items()}

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        at = 0
        for match in _SENTINEL.finditer(text):
            if match[0] in self._sentinels:
                ids += self._pieces.encode(text[at : match.start()])
                ids.append(self._sentinels[match[0]])
                at = match.end()
        return [*ids, *self._pieces.encode(text[at:]), self._end]

    def writer(self) -> Callable[[int], bytes]:
        begun = False

        def write(token: int) -> bytes:
            nonlocal begun
            data = self._text(token)
            if not begun and data:
                # The first word of a text has a space before it only as a piece.
                begun, data = True, data.removeprefix(b" ")
            return data

        return write

    def piece(self, token: int) -> bytes:
        if name := self._names.get(token):
            return name.encode()
        if token < self._known and self._is_silent(token):
            return str(self._pieces.id_to_piece(token)).encode()
        return self._text(token)

    def _place(self, name: str, behind: int) -> int:
        """Where a sentinel stands: among the pieces, if it is one of them."""
        token: int = self._pieces.piece_to_id(name)
        return behind if token == self._pieces.unk_id() else token

    def _is_silent(self, token: int) -> bool:
        return bool(self._pieces.is_control(token) or self._pieces.is_unknown(token))

    def _text(self, token: int) -> bytes:
        if token >= self._known or token in self._names or self._is_silent(token):
            return b""
        piece: str = self._pieces.id_to_piece(token)
        if self._pieces.is_byte(token):
            return bytes.fromhex(piece[3:5])
        return piece.replace(_SPACE, " ").encode()


class _Bytes(Tokenizer):
    """ByT5: every byte of UTF-8 is a token."""

    def __init__(self, end: int, sentinels: int):
        self._end = end
        self._sentinels = max(0, sentinels)
        self._first = _BYTES_FROM + 256
        self.size = self._first + self._sentinels

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        at = 0
        for match in _SENTINEL.finditer(text):
            if int(match[1]) < self._sentinels:
                ids += self._plain(text[at : match.start()])
                ids.append(self._first + int(match[1]))
                at = match.end()
        return [*ids, *self._plain(text[at:]), self._end]

    def writer(self) -> Callable[[int], bytes]:
        return self._text

    def piece(self, token: int) -> bytes:
        if token < _BYTES_FROM:
            return ("<pad>", "</s>", "<unk>")[token].encode()
        if self._first <= token < self.size:
            return f"<extra_id_{token - self._first}>".encode()
        return self._text(token)

    def _plain(self, text: str) -> list[int]:
        return [byte + _BYTES_FROM for byte in text.encode()]

    def _text(self, token: int) -> bytes:
        return bytes((token - _BYTES_FROM,)) if _BYTES_FROM <= token < self._first else b""


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        line = f'{shlex.quote(sys.executable or "python")} -m pip install "llmspell-jupyter[torch]"'
        raise BackendMissing(
            f"{name}, which reads this model's tokenizer, cannot be imported: {error}",
            hint=f"Type in a terminal: {line}",
            data={"install": line},
        ) from error


def _bad(path: Path, cause: str) -> BadModelFile:
    return BadModelFile(
        f"{path.name} has no tokenizer that can be used: {cause}.",
        hint="Fetch or copy the model again; %model_list shows the models that can be used.",
        data={"path": str(path), "cause": cause},
    )
