"""The API key: asked for, and on request given back in every place where a careless client might store it."""

import json
from dataclasses import replace

from tests.servers.connection import Request, Response, failure
from tests.servers.faults import draw

ECHOED_SHARE = 0.05
"""Share of replies whose text repeats the key."""


class Access:
    """Lets in who has the key, if there is one."""

    def __init__(self, key: str | None, echo: bool, seed: int) -> None:
        self._key = key
        self._echo = echo
        self._seed = seed

    def refusal(self, request: Request) -> Response | None:
        if self._key is None or request.authorization == f"Bearer {self._key}":
            return None
        return failure(401, "Incorrect API key provided.", code="invalid_api_key")

    def in_reply(self, request: Request, body_hash: str) -> str:
        """What to add to the text of a reply: mostly nothing."""
        said = self._echo and draw(self._seed, "echo", body_hash) < ECHOED_SHARE
        return f" {request.authorization}" if said else ""

    def echoed(self, response: Response, request: Request) -> Response:
        """The response with the key in its headers and in its error message."""
        if not self._echo or not request.authorization:
            return response
        body = response.body
        if response.status >= 400:
            error = response.json()["error"]
            body = json.dumps({"error": error | {"message": f"{error['message']} (received {request.authorization})"}}).encode()
        return replace(response, body=body, headers=response.headers | {"x-received-authorization": request.authorization})
