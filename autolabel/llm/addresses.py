"""Whose machine an address is on: one's own, which costs nothing that anybody has to be asked about, or somebody else's."""

from ipaddress import ip_address
from urllib.parse import urlsplit

_OWN_NAMES = (".localhost", ".local", ".internal", ".lan")


def is_own(base_url: str) -> bool:
    """Whether an address is on this machine or in a private network, as far as it shows."""
    host = (urlsplit(base_url).hostname or "").rstrip(".").lower()
    try:
        return ip_address(host).is_private
    except ValueError:
        return bool(host) and ("." not in host or host.endswith(_OWN_NAMES))
