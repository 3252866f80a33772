"""Runs the command line as a shell would, inside this process: exit code, stdout, stderr."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autolabel.cli import main

Make = Callable[..., Path]
"""Writes a settings file; keyword arguments replace whole tables."""


class Shell:
    """The `shell` fixture of the tests that need one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self._monkeypatch.setattr(sys, "argv", ["autolabel", *map(str, arguments)])
        self._capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
        out, err = self._capsys.readouterr()
        return code, out, err

    def refused(self, *arguments: object) -> str:
        """The one line that says what is wrong."""
        code, out, err = self(*arguments)
        assert code == 1, (code, out, err)
        assert "Traceback" not in err
        said = [line for line in err.splitlines() if line.startswith("autolabel: ")]
        assert len(said) == 1, err
        assert err.endswith(f"{said[0]}\n"), err
        return said[0]


def toml(content: dict[str, Any]) -> str:
    """Settings as a file."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in content.items() if not isinstance(value, dict | None)]
    for name, table in content.items():
        if isinstance(table, dict):
            plain = {key: value for key, value in table.items() if not isinstance(value, list) and value is not None}
            lists = {key: value for key, value in table.items() if isinstance(value, list)}
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in plain.items())]
            for key, value in lists.items():
                if value and isinstance(value[0], dict):
                    lines += [f"[[{name}.{key}]]", *(f"{k} = {json.dumps(v)}" for item in value for k, v in item.items())]
                else:
                    lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join(lines) + "\n"
