"""`init`, `run`, `collect`, `label`, `score`: what they say when something is wrong, and that nothing is lost by it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch

from autolabel import __version__
from autolabel.config import Settings, read_settings
from autolabel.evidence.sae import native
from autolabel.pipeline import running as pipeline
from tests.cli.commands import Make, Shell
from tests.pipeline import world


def damaged(built: Path, folder: Path, **changes: Any) -> Path:
    native.save(folder, replace(native.load(built / "sae"), **changes))
    return folder


def test_init_writes_settings_that_are_accepted_and_overwrites_nothing(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    code, out, _ = shell("init", path)
    assert (code, str(path) in out) == (0, True)
    assert read_settings(path, Settings).db == "labels.duckdb"
    path.write_text("# mine\n")
    assert "is there already" in shell.refused("init", path)
    assert path.read_text() == "# mine\n"
    assert "cannot write" in shell.refused("init", tmp_path / "nowhere" / "x.toml")


def test_names_from_files_cannot_steer_the_terminal(shell: Shell, tmp_path: Path) -> None:
    message = shell.refused("run", tmp_path / "settings\x1b]0;owned\x07.toml")
    assert "\x1b" not in message
    assert "\x07" not in message
    assert "owned" in message


def test_version_and_usage(shell: Shell) -> None:
    assert shell("--version")[:2] == (0, f"autolabel {__version__}\n")
    assert shell("run")[0] == 2
    assert shell("no-such-command")[0] == 2
    assert shell("run", "x.toml", "--sample", "0")[0] == 2
    assert shell("run", "x.toml", "--max-failure-rate", "3")[0] == 2


def test_settings_that_cannot_be_used(shell: Shell, make: Make, tmp_path: Path) -> None:
    assert "there is no settings file" in shell.refused("run", tmp_path / "none.toml")
    typo = make(label={"labellers": ["explain"]})
    assert "unknown key 'label.labellers' (known here: labelers, " in shell.refused("run", typo)
    typo.write_text("db = ")
    assert "is not a TOML file" in shell.refused("run", typo)
    assert "key 'llm.model' is missing" in shell.refused("run", make(llm={}), "--llm-base-url", "http://x")
    assert not (tmp_path / "labels.duckdb").exists()


def test_an_sae_that_cannot_be_used(shell: Shell, make: Make, built: Path, tmp_path: Path) -> None:
    assert "there is no SAE folder" in shell.refused("collect", make(sae={"path": str(tmp_path / "none")}))
    coder = native.load(built / "sae")
    nan = damaged(built, tmp_path / "nan", b_enc=coder.b_enc * torch.nan)
    assert "'b_enc' holds 48 values that are NaN or infinite" in shell.refused("collect", make(sae={"path": str(nan)}))
    cut = damaged(built, tmp_path / "cut")
    weights = cut / native.WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "truncated or no safetensors file" in shell.refused("collect", make(sae={"path": str(cut)}))
    narrow = damaged(built, tmp_path / "narrow", W_enc=coder.W_enc[:16], W_dec=coder.W_dec[:, :16], b_dec=coder.b_dec[:16])
    said = shell.refused("collect", make(sae={"path": str(narrow)}))
    assert "16" in said
    assert "32" in said


def test_an_unknown_hookpoint_is_answered_with_the_known_ones(shell: Shell, make: Make, built: Path) -> None:
    said = shell.refused("collect", make(sae={"path": str(built / "sae"), "hookpoint": "layers.77"}))
    assert "has no module 'layers.77'" in said
    assert "layers.0" in said


def test_text_that_cannot_be_used(shell: Shell, make: Make, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    settings = make(corpus={"sources": [{"path": str(corpus)}]})
    good = [json.dumps({"text": text}) for text in world.texts(30)]
    assert str(corpus) in shell.refused("collect", settings)
    corpus.write_text("")
    assert "text" in shell.refused("collect", settings)
    corpus.write_text("\n".join(good))
    assert "at least 20 are needed" in shell.refused("collect", settings)
    corpus.write_bytes("\n".join(good[:4]).encode() + b'\n{"text": "caf\xe9"}\n')
    assert "line 5" in (said := shell.refused("collect", settings))
    assert str(corpus) in said
    corpus.write_text("\n".join(good[:2]) + '\n{"text": "cut off')
    assert "line 3" in (said := shell.refused("collect", settings))
    assert str(corpus) in said
    corpus.write_text("\n".join(good[:2]) + '\n{"body": "no text"}')
    assert "line 3" in shell.refused("collect", settings)


def test_a_database_that_is_not_ours_is_left_as_it_is(shell: Shell, make: Make, tmp_path: Path) -> None:
    db = tmp_path / "labels.duckdb"
    db.write_text("notes")
    assert "is not a DuckDB database" in shell.refused("run", make())
    assert db.read_text() == "notes"
    db.unlink()
    with duckdb.connect(str(db)) as connection:
        connection.execute("CREATE TABLE theirs AS SELECT 1 AS x")
    assert "not one of autolabel's" in shell.refused("run", make())
    with duckdb.connect(str(db)) as connection:
        assert connection.execute("SELECT x FROM theirs").fetchall() == [(1,)]


def test_a_newer_and_a_locked_database(shell: Shell, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = tmp_path / "labels.duckdb"
    assert shell("db", "migrate", "--db", db)[0] == 0
    hold = "import sys\nfrom pathlib import Path\nfrom autolabel.store.run_lock import RunLock\n"
    hold += "lock = RunLock(Path(sys.argv[1])); lock.acquire(); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold, str(db)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        said = shell.refused("run", make())
        holder.kill()
    assert f"is in use by a run, PID {holder.pid}" in said
    with duckdb.connect(str(db)) as connection:
        ((table,),) = connection.execute(
            "SELECT table_name FROM duckdb_columns() WHERE column_name = 'name' AND table_name LIKE '%migration%'"
        ).fetchall()
        columns = [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
        values = ", ".join("'m999_later'" if column == "name" else f'"{column}"' for column in columns)
        connection.execute(f"INSERT INTO {table} SELECT {values} FROM {table} LIMIT 1")
    assert "was written by a later version of autolabel" in shell.refused("run", make())


def test_a_model_a_device_and_a_place_that_are_not_there(shell: Shell, make: Make, tmp_path: Path) -> None:
    assert "no-such-model" in shell.refused("collect", make(subject={"model": str(tmp_path / "no-such-model"), "device": "cpu"}))
    assert "banana" in shell.refused("collect", make(), "--device", "banana")
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in shell.refused("collect", make(), "--db", tmp_path / "file" / "labels.duckdb")


def test_nothing_collected_nothing_to_label(shell: Shell, make: Make, tmp_path: Path) -> None:
    assert "holds no evidence" in shell.refused("label", make())
    with duckdb.connect(str(tmp_path / "labels.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT command, status FROM runs").fetchall() == [("label", "failed")]


def test_a_whole_run_then_bad_selections_and_a_dead_endpoint(
    shell: Shell, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = tmp_path / "labels.duckdb"
    code, out, err = shell("collect", make(), "--force")
    assert (code, str(db) in out) == (0, True), err
    assert "evidence set" in out
    assert "collecting evidence" in err
    assert "no LLM answers at http://127.0.0.1:9/v1" in shell.refused("run", make(llm=_dead()), "--force")
    monkeypatch.setattr(pipeline, "load_models", world.load_models(world.Server()))
    assert "the SAE has d_sae = 48 features, 0 to 47" in shell.refused("label", make(), "--features", "48")
    assert "neither an index nor a range" in shell.refused("label", make(), "--features", "all")
    assert shell.refused("label", make(select={}), "--where", "no_such_column > 1")
    code, out, _ = shell("run", make(), "--force", "--features", "1,2")
    assert (code, out) == (0, f"2 of 2 features labelled, 0 without a label, in {db}\n")
    rubbish = world.Server(lambda prompt: "" if prompt.startswith("Fires:") else world.answer(prompt))
    monkeypatch.setattr(pipeline, "load_models", world.load_models(rubbish))
    only = make(label={"labelers": ["explain"]})
    assert shell("label", only, "--features", "3,4")[:2] == (1, f"0 of 2 features labelled, 2 without a label, in {db}\n")
    assert shell("label", only, "--features", "3,4", "--max-failure-rate", "1")[0] == 0
    assert shell("db", "check", "--db", db)[0] == 0


def _dead() -> dict[str, Any]:
    return {"base_url": "http://127.0.0.1:9/v1", "model": "none"}


def test_interrupted_is_130_and_says_that_nothing_is_lost(shell: Shell, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "run_stages", interrupted)
    code, out, err = shell("run", make())
    assert (code, out) == (130, "")
    assert "interrupted; what was done is kept" in err
