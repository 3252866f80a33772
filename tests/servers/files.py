"""/v1/files: uploads of a client and results of batches, in OpenAI's wire format."""

import json
import re
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.servers.connection import Request, Response, failure, ok

_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')
_NAME = re.compile(rb'[; ]name="([^"]*)"')


@dataclass(frozen=True)
class FileObject:
    """A file as OpenAI describes it."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    object: str = "file"
    status: str = "processed"


class Files:
    """Files by id, in memory and, when there is a folder, on disk."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._described: dict[str, FileObject] = {}
        self._contents: dict[str, bytes] = {}
        for path in folder.glob("file-*.json") if folder else ():
            described = FileObject(**json.loads(path.read_text()))
            self._described[described.id] = described
            self._contents[described.id] = path.with_suffix(".content").read_bytes()

    def upload(self, request: Request) -> Response:
        parts = _parts(request)
        if parts.get("purpose") != b"batch" or "file" not in parts:
            return failure(400, "Expected multipart form data with a 'file' and the purpose 'batch'.", param="purpose")
        return ok(asdict(self._described[self.add(parts["file"], "batch")]))

    def serve(self, file_id: str, content: bool) -> Response:
        """A file's description or its content."""
        described = self._described.get(file_id)
        if described is None:
            return failure(404, f"No such File object: {file_id}", param="id")
        return Response(200, self._contents[file_id], {}, "application/octet-stream") if content else ok(asdict(described))

    def content(self, file_id: str) -> bytes | None:
        return self._contents.get(file_id)

    def add(self, content: bytes, purpose: str) -> str:
        """Keep a file; its id."""
        described = FileObject(f"file-{secrets.token_hex(8)}", len(content), int(time.time()), f"{purpose}.jsonl", purpose)
        self._described[described.id] = described
        self._contents[described.id] = content
        if self._folder is not None:
            (self._folder / f"{described.id}.content").write_bytes(content)
            (self._folder / f"{described.id}.json").write_text(json.dumps(asdict(described)))
        return described.id


def _parts(request: Request) -> dict[str, bytes]:
    """The parts of multipart form data by name."""
    boundary = _BOUNDARY.search(request.headers.get("content-type", ""))
    if boundary is None:
        return {}
    found: dict[str, bytes] = {}
    for part in request.body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if name is not None:
            found[name[1].decode()] = content.removesuffix(b"\r\n")
    return found
