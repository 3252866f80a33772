"""Addresses that fsspec opens: how they are shown, and what the clients behind them raise.

The invariant: no password and no signature of an address reaches a message or the id of a document.
"""

import re
import sys

WEB = ("http://", "https://")
_CLIENT_ERRORS = {
    "aiohttp": "ClientError",
    "httpx": "HTTPError",
    "botocore.exceptions": "BotoCoreError",
    "google.auth.exceptions": "GoogleAuthError",
    "azure.core.exceptions": "AzureError",
}
"""Module → the base of its errors that is no `OSError`; each is optional, and loaded by whatever raises one."""


def shown(text: str) -> str:
    """An address, or a message that holds some, without the passwords and the queries they may hold."""
    return re.sub(r"(https?://[^\s'\"?]*\?)[^\s'\")]+", r"\1…", re.sub(r"://[^\s/@]*@", "://…@", text))


def without_query(address: str) -> str:
    """A web address up to its `?`; any other, where `?` stands for a character, as it is."""
    return address.partition("?")[0] if address.startswith(WEB) else address


def client_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """The given errors, and what the loaded clients of object stores and web servers raise when one refuses or is out of reach."""
    found = (getattr(sys.modules.get(module), name, None) for module, name in _CLIENT_ERRORS.items())
    return others + tuple(error for error in found if isinstance(error, type) and issubclass(error, Exception))
