"""Having the models and texts of a command at hand, for every command with a `--fetch`."""

from collections.abc import Sequence

import typer

from autolabel import parts
from autolabel.errors import DataError


def prepare(names: Sequence[str], fetch: bool, command: str) -> None:
    """Have the parts called `names` at hand; `command` is the one that the user typed, such as `autolabel demo`.

    Raises:
        DataError: a part is missing and `fetch` is off, or it cannot be fetched.
    """
    missing = [name for name in names if not parts.part_dir(name).is_dir()]
    if not missing:
        return
    sources = [parts.CONVERTED[name][0] if name in parts.CONVERTED else name for name in missing]
    if not fetch:
        size = f"{parts.download_megabytes(sources):.0f} MB"
        raise DataError(f"the parts {', '.join(missing)} are not there; `{command} --fetch` downloads them ({size})")
    parts.fetch(sources, lambda text: typer.echo(text, err=True))
    for name in (name for name in missing if name in parts.CONVERTED):
        from autolabel.local.convert import convert_gguf

        source, file = parts.CONVERTED[name]
        typer.echo(f"converting {name}", err=True)
        convert_gguf(parts.part_dir(source) / file, parts.part_dir(name))
