"""Which format a folder holds, what is missing in half a folder, and SAEs from the hub."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from autolabel.errors import DataError
from autolabel.evidence.sae import FORMATS, hub, load_sae
from autolabel.evidence.sae.loading import KNOWN_FILES
from tests.evidence.sae.cases import BY_NAME, copied


def test_the_demo_sae_keeps_its_id() -> None:
    coder = load_sae("demo-sae")
    assert coder.weights_hash == "2155fd3f9a028215d20b353b69253afb8001fe946a580c41db77bac58876c15b"
    assert (coder.format, coder.d_sae, coder.k) == ("autolabel", 4096, 32)


@pytest.mark.parametrize(
    ("case", "missing", "message"),
    [
        (
            "saelens-topk",
            "cfg.json",
            r"holds sae_weights\.safetensors but not cfg\.json \(saelens\) or config\.json \(llama_scope\)",
        ),
        (
            "saelens-topk",
            "sae_weights.safetensors",
            r"holds cfg\.json but no weights: sae_weights\.safetensors \(saelens\) or sae\.",
        ),
        ("sparsify-topk", "cfg.json", r"holds sae\.safetensors but not cfg\.json \(sparsify\) or config\.json \(autolabel\)"),
        ("dictionary-learning-AutoEncoder", "config.json", r"holds ae\.pt but not config\.json \(dictionary_learning\)"),
        ("dictionary-learning-AutoEncoder", "ae.pt", r"holds config\.json but no weights: .* ae\.pt \(dictionary_learning\)"),
        ("gemma-scope-2-sae", "config.json", r"holds params\.safetensors but not config\.json \(gemma_scope_2\)"),
        ("llama-scope-first", "hyperparams.json", r"holds checkpoints/final\.safetensors but not hyperparams\.json"),
        ("llama-scope-first", "checkpoints/final.safetensors", r"holds hyperparams\.json but no weights: checkpoints/final"),
        ("gemma-scope-sae", "params.npz", r"holds no SAE of a known format \(saelens, .*llama_scope\); found nothing"),
    ],
)
def test_half_a_folder_says_which_file_is_missing(tmp_path: Path, case: str, missing: str, message: str) -> None:
    folder = copied(tmp_path, case)
    (folder / missing).unlink()
    with pytest.raises(DataError, match=message):
        load_sae(str(folder))


def test_a_folder_of_saes_asks_for_one_of_them(tmp_path: Path) -> None:
    folder = copied(tmp_path, "sparsify-groupmax")
    with pytest.raises(DataError, match=r"holds config\.json but no weights: .*, or name a folder within"):
        load_sae(str(folder.parent))
    for name in ("config.json", "expected.safetensors"):
        (folder.parent / name).unlink()
    with pytest.raises(DataError, match=r"found layers\.3\.mlp\. If the SAEs lie in folders within, name one of them"):
        load_sae(str(folder.parent))
    assert load_sae(str(folder.parent), subfolder="layers.3.mlp").hookpoint == "layers.3.mlp"


@pytest.mark.parametrize("subfolder", ["../other", "/etc", "a/../../b"])
def test_a_subfolder_cannot_lead_out(tmp_path: Path, subfolder: str) -> None:
    with pytest.raises(DataError, match=r"is no folder within the SAE's path; expected names without '\.\.'"):
        load_sae(str(tmp_path), subfolder=subfolder)


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(
        DataError, match=r"there is no SAE folder 'nowhere/at/all'; \[sae\] path must name a folder .* or hub:OWNER"
    ):
        load_sae("nowhere/at/all")


class Hub:
    """Stands in for the download, and keeps what was asked of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[tuple[str, str | None, list[str]]] = []

    def __call__(self, repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        self.asked.append((repo_id, revision, allow_patterns))
        return str(self.root)


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    root = tmp_path / "models--google--gemma-scope-2b-pt-res" / "snapshots" / "0123abc"
    folder = root / "layer_3" / "width_16k" / "average_l0_7"
    folder.mkdir(parents=True)
    (folder / "params.npz").write_bytes((BY_NAME["gemma-scope-sae"].path / "params.npz").read_bytes())
    stand_in = Hub(root)
    monkeypatch.setattr(hub, "snapshot_download", stand_in)
    return stand_in


@pytest.mark.parametrize(
    ("path", "subfolder", "revision"),
    [
        ("hub:google/gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_7", None, None),
        ("hf:google/gemma-scope-2b-pt-res@0123abc/layer_3/width_16k/average_l0_7", None, "0123abc"),
        ("hub:google/gemma-scope-2b-pt-res/layer_3", "width_16k/average_l0_7", None),
        ("google/gemma-scope-2b-pt-res", "layer_3/width_16k/average_l0_7", None),
    ],
)
def test_an_address_on_the_hub(fake_hub: Hub, path: str, subfolder: str | None, revision: str | None) -> None:
    coder = load_sae(path, subfolder=subfolder)
    assert (coder.hookpoint, coder.subject_model, coder.advertised_l0) == ("blocks.3.hook_resid_post", "google/gemma-2-2b", 7.0)
    assert coder.name == "google/gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_7"
    [(repo, asked_revision, patterns)] = fake_hub.asked
    assert (repo, asked_revision) == ("google/gemma-scope-2b-pt-res", revision)
    assert patterns == [f"layer_3/width_16k/average_l0_7/{file}" for file in KNOWN_FILES]


def test_a_single_file_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = BY_NAME["qwen-scope"].path
    root = tmp_path / "models--Qwen--SAE-Res-Qwen3-1.7B-Base-W32K-L0_6" / "snapshots" / "0123abc"
    root.mkdir(parents=True)
    (root / "layer5.sae.pt").write_bytes(source.read_bytes())
    stand_in = Hub(root)
    monkeypatch.setattr(hub, "snapshot_download", stand_in)
    coder = load_sae("hub:Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_6/layer5.sae.pt")
    assert (coder.k, coder.name) == (6, "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_6/layer5.sae.pt")
    assert stand_in.asked == [("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_6", None, ["layer5.sae.pt"])]
    with pytest.raises(DataError, match=r"L0_6/layer6\.sae\.pt' on the hub has no SAE's files"):
        load_sae("hub:Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_6/layer6.sae.pt")


def test_only_the_files_of_one_sae_are_asked_for(fake_hub: Hub) -> None:
    with pytest.raises(DataError, match=r"'a/b' on the hub has no SAE's files; name the folder of one SAE, as in hub:a/b/FOLDER"):
        load_sae("hub:a/b")
    assert fake_hub.asked == [("a/b", None, list(KNOWN_FILES))]
    assert not any("*" in file for file in KNOWN_FILES)
    assert {known.weights for known in FORMATS} < set(KNOWN_FILES)


@pytest.mark.parametrize(
    "path", ["hub:owner", "hub:a/b@/c", "hub:a/b/c d", "hub:", "hub:a/*", "hub:a/b/layer_[0-9]", "hub:-a/b", "hub:a/b/../../c"]
)
def test_a_malformed_address_is_refused_before_the_network(fake_hub: Hub, path: str) -> None:
    with pytest.raises(DataError, match=r"is no address on the hub; expected hub:OWNER/REPO|is no folder within"):
        load_sae(path)
    assert fake_hub.asked == []


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("no\nnetwork"), ValueError("no\nnetwork"), OSError("no\nnetwork")])
def test_a_failed_download_is_told_on_one_line_with_the_way_out(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(
        DataError, match=r"cannot download 'a/b/c' from the hub: no network\. Without network, download .* \[sae\] path"
    ):
        load_sae("hub:a/b/c")


def test_a_local_folder_goes_before_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_hub: Hub) -> None:
    copied(tmp_path, "saelens-topk").rename(tmp_path / "here")
    (tmp_path / "owner").mkdir()
    (tmp_path / "here").rename(tmp_path / "owner" / "repo")
    monkeypatch.chdir(tmp_path)
    assert load_sae("owner/repo").format == "saelens"
    assert fake_hub.asked == []
