"""Counting tokens by asking the server that will answer, where it has an address for that: vLLM and llama.cpp do."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx2

from autolabel import secrets
from autolabel.config import LlmSettings
from autolabel.records import Message

_PATIENCE_S = 10.0


class ServerCounter:
    """Counts as the model behind one base URL will."""

    def __init__(self, base_url: str, model: str, client: httpx2.AsyncClient) -> None:
        self._root = base_url.rstrip("/").removesuffix("/v1").rstrip("/")
        self._model = model
        self._client = client

    @classmethod
    def connect(cls, settings: LlmSettings) -> "ServerCounter":
        """The counter of an endpoint's first server; it is not spoken to yet."""
        key = secrets.api_key(settings.api_key_env)
        client = httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=_PATIENCE_S)
        return cls(settings.base_urls[0], settings.model, client)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def count(self, messages: Sequence[Message]) -> int | None:
        """Tokens of the request, chat template included; None when the server cannot say."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        counted = (await self._post("/tokenize", {"model": self._model, "messages": turns})).get("count")
        if isinstance(counted, int):  # vLLM
            return counted
        prompt = (await self._post("/apply-template", {"messages": turns})).get("prompt")
        if not isinstance(prompt, str):
            return None
        # llama.cpp takes the leading special token off the template's text and puts it back here.
        tokens = (await self._post("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})).get("tokens")
        return len(tokens) if isinstance(tokens, list) else None

    async def _post(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that answers, empty when none does: counting is a convenience, so no failure of it stops anybody."""
        try:
            response = await self._client.post(self._root + path, json=content)
            answer = response.json() if response.is_success else {}
        except (httpx2.HTTPError, ValueError):
            return {}
        return answer if isinstance(answer, dict) else {}
