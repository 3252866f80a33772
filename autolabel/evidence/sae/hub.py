"""SAEs from the Hugging Face hub: which files of which repository, and where they lie once downloaded."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from huggingface_hub import snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

from autolabel.errors import DataError
from autolabel.evidence.sae.files import one_line

HUB_PREFIXES = ("hub:", "hf:")
_FILE_SUFFIXES = (".pt", ".pth")

_NAME = r"[A-Za-z0-9][\w.\-]*"
_ADDRESS = re.compile(rf"(?P<repo>{_NAME}/{_NAME})(?:@(?P<revision>[\w.\-]+))?(?:/(?P<folder>[\w.\-/]+))?")
_BARE = re.compile(rf"{_NAME}/{_NAME}")


def local_path(path: str, subfolder: str | None, files: Iterable[str]) -> Path:
    """The folder or file that `path` names, downloaded first if it is on the hub.

    Of a repository only that one file, or `files` of that one folder, are downloaded: many hold hundreds of SAEs.

    Raises:
        DataError: the address or the subfolder is malformed, or the hub does not give the files.
    """
    inside = _relative(subfolder) if subfolder else PurePosixPath()
    on_hub = path.startswith(HUB_PREFIXES)
    here = Path(path).expanduser()
    if not on_hub and (here.exists() or not _BARE.fullmatch(path)):
        return here / inside
    found = _ADDRESS.fullmatch(path.split(":", 1)[-1])
    if found is None:
        raise DataError(f"'{path}' is no address on the hub; expected hub:OWNER/REPO, or hub:OWNER/REPO@REVISION/FOLDER")
    inside = (_relative(found["folder"]) if found["folder"] else PurePosixPath()) / inside
    return _downloaded(found["repo"], found["revision"], inside, files)


def _downloaded(repo: str, revision: str | None, inside: PurePosixPath, files: Iterable[str]) -> Path:
    wanted = [inside] if inside.suffix in _FILE_SUFFIXES else [inside / file for file in files]
    where = repo if inside == PurePosixPath() else f"{repo}/{inside}"
    try:
        root = snapshot_download(repo, revision=revision, allow_patterns=[str(file) for file in wanted])
    except (OSError, ValueError, RuntimeError, EntryNotFoundError, HfHubHTTPError) as error:
        raise DataError(
            f"cannot download '{where}' from the hub: {one_line(error)}. Without network, download the folder elsewhere and let "
            "[sae] path name the copy"
        ) from None
    if not any((Path(root) / file).is_file() for file in wanted):
        raise DataError(f"'{where}' on the hub has no SAE's files; name the folder of one SAE, as in hub:{repo}/FOLDER")
    return Path(root) / inside


def _relative(folder: str) -> PurePosixPath:
    """A folder within another, which it cannot leave."""
    inside = PurePosixPath(folder)
    if inside.is_absolute() or ".." in inside.parts:
        raise DataError(f"'{folder}' is no folder within the SAE's path; expected names without '..'")
    return inside
