"""Addresses of cameras, storages and servers, which may hold passwords: what is shown of them never does."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, quote_plus, unquote

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from typing_extensions import Self

from jetseg.errors import ConfigError, DeviceError, JetsegError
from jetseg.registry import DATASETS, SOURCES

_MORE = "..."
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{1,15})://(?P<authority>[^/?#\\]*)(?P<further>.*)", re.DOTALL)
_HOST = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)
_MAY_HIDE = re.compile(r"[:@=?&!;%\x00-\x1f]")
"""What no plain path has, and every way to write a password into an address."""
_BETWEEN_PARTS = re.compile(r"[/?#&=:@;,!\s\"'\\]+")
_WAYS = (str, unquote, quote, quote_plus, lambda part: quote(part, safe=""), lambda part: repr(part)[1:-1])
"""How others write a part of an address."""
_LEAST_PART = 4
"""Characters of a part that is looked for inside of words; shorter ones are in every text."""
_MOST_CHARACTERS = 8192


class SourceAddress:
    """Where frames come from, as a user wrote it; whatever makes text of it gets only what is safe to show.

    Shown are the scheme, host and port of a URL, and plain paths, camera numbers and specs of jetseg's own kinds; not
    user names, passwords, paths and queries of URLs (a path alone can be the key to a stream), not pipelines, and
    not what may hide something behind the name of a kind that another package brings. `reveal` gives the rest, for
    opening the connection and nothing else.

    >>> address = SourceAddress("rtsp://admin:secret@10.0.0.7:554/user=admin&password=secret&channel=1")
    >>> f"{address}", SourceAddress("drive.mp4"), SourceAddress("rtspsrc location=rtsp://10.0.0.7/ user-pw=secret")
    ('rtsp://10.0.0.7:554/...', SourceAddress('drive.mp4'), SourceAddress('...'))
    """

    __slots__ = ("_raw", "_shown")
    _setting: ClassVar[str] = "`source`"
    _advice: ClassVar[str] = "Give a camera, file or URL, or where one stands: env:NAME or @FILE."
    _failure_advice: ClassVar[str] = "Check the address and the camera."

    def __init__(self, text: str) -> None:
        self._raw = text
        self._shown = _shown(text)

    @classmethod
    def given(cls, text: str) -> Self:
        """Reads what a user gave: an address, `env:NAME` for one in an environment variable, `@FILE` for one in a file.

        Raises:
            ConfigError: There is no such variable or file, or it is empty.
        """
        if text.startswith("env:"):
            text, origin = os.environ.get(text.removeprefix("env:"), ""), text
        elif text.startswith("@"):
            text, origin = _read(Path(text[1:]).expanduser()), text
        else:
            origin = cls._setting
        if not text.strip() or len(text) > _MOST_CHARACTERS:
            raise ConfigError(f"{origin} holds no address.", cls._advice)
        return cls(text.strip())

    @property
    def is_url(self) -> bool:
        """It is opened by FFmpeg or GStreamer, which know URLs and pipelines."""
        return "://" in self._raw

    @property
    def path(self) -> Path | None:
        """The file or folder that it names; None if there is none of this name."""
        return _existing(self._raw)

    @property
    def hides(self) -> bool:
        """Not all of it is shown."""
        return self._shown != self._raw

    def reveal(self) -> str:
        """Returns the address itself, for opening the connection."""
        return self._raw

    def scrub(self, text: str) -> str:
        """Takes out of a foreign text what is hidden of this address, however it is written there."""
        if not self.hides:
            return text
        written = sorted({way(part) for part in self._hidden_parts() for way in _WAYS}, key=len, reverse=True)
        patterns = (re.escape(part) if len(part) >= _LEAST_PART else rf"\b{re.escape(part)}\b" for part in written)
        return re.sub("|".join(patterns), _MORE, text)

    @contextmanager
    def concealing(self) -> Iterator[None]:
        """Lets no error out of the block whose text, or whose causes, hold what is hidden.

        Raises:
            DeviceError: A library failed; its own text is not repeated.
        """
        try:
            yield
        except JetsegError as error:
            if self.hides:
                error.found, error.fix = self.scrub(error.found), self.scrub(error.fix)
                error.args = tuple(self.scrub(str(part)) for part in error.args)
                error.__cause__ = error.__context__ = None
            raise
        except Exception as error:
            if not self.hides:
                raise
            reason = f": {os.strerror(error.errno)}" if isinstance(error, OSError) and error.errno else ""
            raise DeviceError(f"{self} failed ({type(error).__name__}{reason}).", self._failure_advice) from None

    def _hidden_parts(self) -> set[str]:
        rest = self._raw.partition("://")[2] or self._raw.partition(":")[2]
        user_info = rest.rpartition("@")[0]
        wholes = {self._raw, rest, user_info, user_info.partition(":")[2]} - {""}
        parts = {part for text in (self._raw, unquote(self._raw)) for part in _BETWEEN_PARTS.split(text)}
        return wholes | {part for part in parts if len(part) >= _LEAST_PART and part not in self._shown}

    def __str__(self) -> str:
        return self._shown

    def __format__(self, specification: str) -> str:
        return format(self._shown, specification)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._shown!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SourceAddress) and other._raw == self._raw

    def __hash__(self) -> int:
        return hash(self._raw)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memory: object) -> Self:
        return self

    def __reduce__(self) -> str:
        raise TypeError("An address is not pickled: it may hold a password.")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Reads text and dumps what is shown."""
        del source, handler
        read = core_schema.no_info_after_validator_function(cls.given, core_schema.str_schema())
        return core_schema.union_schema(
            [core_schema.is_instance_schema(cls), read], serialization=core_schema.to_string_ser_schema()
        )


class StorageAddress(SourceAddress):
    """Where a search keeps its trials, as a user wrote it; shown as a `SourceAddress` is.

    >>> print(StorageAddress("postgresql://jetseg:secret@10.0.0.7/searches"))
    postgresql://10.0.0.7/...
    """

    __slots__ = ()
    _setting = "`storage`"
    _advice = "Give a file or a URL of PostgreSQL, or where one stands: env:NAME or @FILE."
    _failure_advice = "Check the address, and that the server runs and lets you in."


def _shown(text: str) -> str:
    url = _URL.fullmatch(text)
    if url is not None:
        return f"{url['scheme']}://{_place(url['authority'], url['further'])}"
    if _is_plain(text):
        return text
    kind = text.partition(":")[0]
    return f"{kind}:{_MORE}" if kind in SOURCES else _MORE


def _place(authority: str, further: str) -> str:
    """Returns host and port; nothing where a password with a slash in it may stand before the host."""
    host = authority.rpartition("@")[2]
    if "@" in unquote(unquote(further)) or not _HOST.fullmatch(host):
        return _MORE
    return f"{host}/{_MORE}" if further.strip("/") else f"{host}{further}"


def _is_plain(text: str) -> bool:
    name, _, place = text.partition(":")
    if "://" in text:
        return False
    if name in SOURCES.own or name in DATASETS or _existing(text) is not None:
        return True
    return not _MAY_HIDE.search(place if name in SOURCES else text)


def _existing(text: str) -> Path | None:
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, a null, no such user's home
        return None


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MOST_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"{path} could not be read as the address of a source: {reason}.") from None
