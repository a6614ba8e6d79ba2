"""Which addresses files are fetched from.

A server may send us anywhere. The hub that the user named is asked wherever it is; any other host
has to be on the list, over TLS and at addresses of the public internet, or on the list with its
port. Names are resolved here, every address is checked, and the checked ones are connected to: a
name that means something else a moment later does not matter.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import socket
import urllib.parse
from dataclasses import dataclass

from llmspell_jupyter.errors import PullError, Refused, Unreachable
from llmspell_jupyter.types import Sources

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
_PRINTABLE = re.compile(r"[!-~]+")
_LONGEST = 8192

# IPv6 addresses that stand for an IPv4 one in their last four bytes.
_CARRIERS = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::/96"))


@dataclass(frozen=True, slots=True)
class Target:
    """An address that may be asked.

    Attributes:
        scheme: ``http`` or ``https``.
        host: Lower-case name or address, IPv6 in brackets.
        port: Its port.
        path: Path and query, as a request has them.
        ours: It belongs to the hub that the user named, which alone is given the token.
        anywhere: It may lie in a private network.
    """

    scheme: str
    host: str
    port: int
    path: str
    ours: bool
    anywhere: bool

    @property
    def origin(self) -> str:
        """Scheme, host and port, for messages and pools; holds no secrets."""
        usual = _PORTS[self.scheme] == self.port
        return f"{self.scheme}://{self.host}" + ("" if usual else f":{self.port}")

    @property
    def url(self) -> str:
        """The whole address; its query may hold a signature that is not for messages."""
        return self.origin + self.path


def target(url: str, sources: Sources) -> Target:
    """The address as one to ask.

    Raises:
        Refused: Files are not fetched from there.
    """
    scheme, host, port, path = _split(url)
    # The endpoint is the user's own word.
    home = _split(sources.endpoint)
    if (scheme, host, port) == home[:3]:
        return Target(scheme, host, port, path, ours=True, anywhere=True)
    listed = [each.strip().lower() for each in sources.hosts if each.strip()]
    if any(_exactly(host, port, each) for each in listed):
        return Target(scheme, host, port, path, ours=False, anywhere=True)
    if scheme != "https":
        raise refused(f"{scheme}://{host}:{port}", "it is not reached over TLS")
    if port != _PORTS["https"]:
        raise refused(f"{host}:{port}", "this port is not on the list")
    if host != home[1] and not any(_matches(host, each) for each in listed):
        raise refused(host, "this host is not on the list")
    return Target(scheme, host, port, path, ours=False, anywhere=False)


def resolved(found: Target) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    """Addresses of a target's host, all of which may be connected to.

    Raises:
        Refused: One of them may not.
        Unreachable: There is none.
    """
    host = found.host.strip("[]")
    try:
        answers = socket.getaddrinfo(host, found.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise unknown_host(host) from None
    addresses: list[tuple[socket.AddressFamily, tuple[str, int]]] = []
    for family, _, _, _, address in answers:
        number = str(address[0])
        if not found.anywhere and not _public(number):
            raise refused(f"{host} ({number})", "it lies in a private network")
        addresses.append((family, (number, found.port)))
    if not addresses:
        raise unknown_host(host)
    return addresses


def check_named(found: Target) -> None:
    """Check a target that a proxy resolves, as far as its name tells.

    Raises:
        Refused: It is a number of a private network.
    """
    host = found.host.strip("[]")
    if found.anywhere:
        return
    if host.replace(".", "").isdecimal() or host.startswith("0x") or ":" in host:
        try:
            public = _public(host)
        except ValueError:
            public = False
        if not public:
            raise refused(host, "it lies in a private network")


def refused(address: str, why: str) -> Refused:
    """The error for an address that is not asked; it is shown cut and printable."""
    shown = ascii(address[:200])[1:-1]
    return Refused(
        f"Files are not fetched from {shown}: {why}.",
        hint=(
            "If it is right, name it: models.download_hosts = "
            f'["*.hf.co", "*.huggingface.co", "{_to_name(shown)}"]'
        ),
        data={"address": shown},
    )


def unknown_host(host: str) -> Unreachable:
    """The error for a name without an address."""
    return Unreachable(
        f"There is no host {host[:200]}, or no network.",
        hint="Check the connection, then type the same line again: it goes on where it was.",
        data={"host": host[:200]},
    )


def join(base: Target, location: str) -> str:
    """Where an answer sends us.

    Raises:
        PullError: It does not say where.
    """
    if not location.strip():
        raise PullError(f"{base.origin} sends us on without saying where.", hint=AGAIN)
    return urllib.parse.urljoin(base.url, location.strip())


#: What to do when a server does something wrong.
AGAIN = "Type the same line again: it goes on where it was."


def _split(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of an address that is written as it should be."""
    if len(url) > _LONGEST or not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise refused(url[:80], "it is not written as an address")
    parts = urllib.parse.urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise refused(url.partition("?")[0], "it is neither http nor https")
    if "@" in parts.netloc:
        raise refused(f"{scheme}://{parts.netloc.rpartition('@')[2]}", "it holds a user's name")
    try:
        port = parts.port or _PORTS[scheme]
    except ValueError:
        raise refused(parts.netloc, "its port is no number") from None
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    if not _HOST.fullmatch(host):
        raise refused(parts.netloc, "its host is not written as one")
    path = parts.path or "/"
    return scheme, host, port, f"{path}?{parts.query}" if parts.query else path


def _exactly(host: str, port: int, listed: str) -> bool:
    name, colon, number = listed.rpartition(":")
    if not colon or not number.isdecimal() or int(number) != port:
        return False
    return _matches(host, name)


def _matches(host: str, listed: str) -> bool:
    if listed.startswith("*."):
        return fnmatch.fnmatchcase(host, listed)
    return host == listed


def _public(number: str) -> bool:
    address = ipaddress.ip_address(number.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        teredo = address.teredo
        inner = [address.ipv4_mapped, address.sixtofour, *(teredo or ())]
        if any(address in net for net in _CARRIERS):
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if any(each is not None and not _public(str(each)) for each in inner):
            return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not address.is_multicast


def _to_name(shown: str) -> str:
    return shown.rpartition("://")[2].partition("/")[0].partition(" ")[0]
