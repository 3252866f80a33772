"""`train` from a settings file with a random model: an SAE that loads, progress on stderr, refusals in one line."""

import json
from pathlib import Path

import pytest

from autolabel.evidence.sae import load_sae
from tests.cli.commands import Shell
from tests.fakes import tiny_model_and_tokenizer
from tests.pipeline.world import texts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_and_tokenizer(tmp_path_factory.mktemp("model"))


@pytest.fixture
def config(model: Path, tmp_path: Path) -> Path:
    corpus = tmp_path / "texts.jsonl"
    corpus.write_text("".join(json.dumps({"text": text[:300]}) + "\n" for text in texts(150)))
    path = tmp_path / "sae.toml"
    path.write_text(
        f"""
        name = "tiny"
        [subject]
        model = "{model}"
        dtype = "float32"
        device = "cpu"
        context_tokens = 96
        [[corpus.sources]]
        path = "{corpus}"
        [training]
        hookpoint = "layers.1"
        d_sae = 32
        k = 4
        tokens = 50000
        batch_tokens = 128
        buffer_tokens = 1024
        """
    )
    return path


def test_train_writes_an_sae_that_loads(shell: Shell, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "sae"
    code, said, progress = shell("train", config, "--out", out, "--tokens", "6000", "--seed", "3")
    assert code == 0
    assert said.startswith(f"{out}: ")
    assert "FVU" in said
    assert "loss" in progress
    sae = load_sae(str(out))
    assert (sae.name, sae.d_sae, sae.k, sae.config["tokens"], sae.config["seed"]) == ("tiny", 32, 4, 6000, 3)


def test_train_refuses_in_one_line(shell: Shell, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "sae"
    assert "there is no settings file" in shell.refused("train", tmp_path / "none.toml", "--out", out)
    config.write_text(config.read_text().replace("layers.1", "layers.99"))
    assert "has no module 'layers.99'" in shell.refused("train", config, "--out", out)
    config.write_text(config.read_text().replace("k = 4", "k = 64"))
    assert "k = 64 exceeds d_sae = 32" in shell.refused("train", config, "--out", out)
    assert not out.exists()
    assert shell("train", config)[0] == 2
    assert shell("train", config, "--out", out, "--tokens", "0")[0] == 2
