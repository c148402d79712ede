"""Addresses to listen on."""

from __future__ import annotations

from ipaddress import ip_address


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:9464``, ``[::1]:9464`` or ``:9464`` (every address). Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("write HOST:PORT, such as 127.0.0.1:9464")
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare and bare == host:
        raise ValueError("write an IPv6 address in brackets, such as [::1]:9464")
    return bare, int(port)


def is_loopback(listen: str) -> bool:
    """Whether only this machine can reach such an address."""
    host, _ = parse_listen(listen)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
