"""Everything an LLM server answers beside chat: its models, its tokens, files and batches."""

from collections.abc import Sequence
from typing import Any

from tests.servers import tokens
from tests.servers.batches import Batches
from tests.servers.connection import Request, Response, failure, ok
from tests.servers.files import Files
from tests.servers.model import CREATED, Body, read_body
from tests.servers.options import Options

ANY_MODEL = "loopback"
"""The name that is listed where every name is served."""


class Routes:
    """Finds out who answers a request."""

    def __init__(self, options: Options, files: Files, batches: Batches) -> None:
        self._options = options
        self._files = files
        self._batches = batches

    def serve(self, request: Request) -> Response:
        """Answer at once."""
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["v1", "models"]:
                return ok({"object": "list", "data": [self._model()]})
            case "POST", ["tokenize"] if self._options.tokenize:
                return self._tokenized(read_body(request.body)[0])
            case "POST", ["apply-template"] if self._options.template:
                return ok({"prompt": tokens.templated(read_body(request.body)[0].get("messages", []))})
            case method, ["v1", "files", *rest]:
                return self._file(request, method, rest)
            case method, ["v1", "batches", *rest]:
                return self._batch(request, method, rest)
        return _unknown(request)

    def _model(self) -> dict[str, Any]:
        return {"id": self._options.model or ANY_MODEL, "object": "model", "created": CREATED, "owned_by": "tests"}

    def _tokenized(self, body: Body) -> Response:
        """Tokens of a text as llama.cpp says them, or of a chat or a prompt as vLLM does."""
        if isinstance(body.get("content"), str):
            return ok({"tokens": tokens.token_ids(body["content"])})
        text = tokens.templated(body["messages"]) if "messages" in body else body.get("prompt")
        if text is None:
            return failure(400, "Expected 'content', 'messages' or 'prompt'.")
        found = tokens.token_ids(text)
        return ok({"count": len(found), "max_model_len": self._options.context, "tokens": found, "token_strs": None})

    def _file(self, request: Request, method: str, rest: Sequence[str]) -> Response:
        match method, rest:
            case "POST", []:
                return self._files.upload(request)
            case "GET", [file_id]:
                return self._files.serve(file_id, content=False)
            case "GET", [file_id, "content"]:
                return self._files.serve(file_id, content=True)
        return _unknown(request)

    def _batch(self, request: Request, method: str, rest: Sequence[str]) -> Response:
        match method, rest:
            case "POST", []:
                return self._batches.create(request)
            case "GET", []:
                return self._batches.page(request.query)
            case "GET", [batch_id]:
                return self._batches.get(batch_id)
            case "POST", [batch_id, "cancel"]:
                return self._batches.cancel(batch_id)
        return _unknown(request)


def _unknown(request: Request) -> Response:
    return failure(404, f"Unknown request URL: {request.method} {request.path}.")
