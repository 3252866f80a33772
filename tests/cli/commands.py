"""Runs the command line as a shell would, inside this process: exit code, stdout, stderr."""

import sys

import pytest

from autolabel.cli import main


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
