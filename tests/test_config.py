import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from autolabel.config import (
    CorpusSettings,
    EvidenceSettings,
    LlmSettings,
    SaeSettings,
    Section,
    Settings,
    SubjectSettings,
    TrainSettings,
    read_settings,
    validated,
)
from autolabel.errors import ConfigError
from autolabel.resources import resource_dir

MINIMAL = """
[subject]
model = "tiny"
[sae]
path = "sae"
[[corpus.sources]]
path = "texts"
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refused(path: Path, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read_settings(path, Settings, overrides)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_file_that_init_writes_shows_the_values_that_hold() -> None:
    sections = {name: type(field.default) for name, field in Settings.model_fields.items()}
    sections |= {"subject": SubjectSettings, "sae": SaeSettings, "corpus": CorpusSettings, "llm": LlmSettings}
    section, n_compared = "", 0
    for line in (resource_dir("data") / "settings.toml").read_text(encoding="utf-8").splitlines():
        header, key = re.match(r"(?:# )?\[+([a-z.]+)\]", line), re.match(r"# ([a-z_]+) = ", line)
        section = header[1] if header else section
        if key and section in sections and issubclass(sections[section], Section) and "# unset:" not in line:
            shown = tomllib.loads(line.removeprefix("# "))
            assert shown == {key[1]: sections[section].model_fields[key[1]].default}, section
            n_compared += 1
    assert n_compared > 20


@pytest.mark.parametrize("table", ["evidence = {min_examples = 5}", "engine = {kind = 'ray'}"])
def test_files_with_activations_are_not_read_in_part(write: Any, table: str) -> None:
    assert "need a model and text" in refused(write(f"source = {{kind = 'activations', path = 'x'}}\n{table}"))


def test_a_short_file_is_enough(write: Any) -> None:
    settings = read_settings(write(MINIMAL), Settings)
    assert settings.subject.model == "tiny"
    assert settings.corpus.shares == pytest.approx({"train": 0.35, "validation": 0.2, "test": 0.45})
    assert settings.evidence == EvidenceSettings()
    assert settings.llm is None


@pytest.mark.parametrize(
    ("text", "name", "known"),
    [
        ('colour = "red"\n' + MINIMAL, "colour", "db, seed, source, subject, sae, also, corpus"),
        (MINIMAL + "[evidence]\nstrongst = 3\n", "evidence.strongst", "strongest, firing_train"),
        (
            MINIMAL + "txt_column = 'body'\n",
            "corpus.sources.0.txt_column",
            "path, name, format, text_column, id_column, delimiter, share",
        ),
        (MINIMAL + "[llm]\nmodel = 'm'\napi_key = 'sk-secret'\n", "llm.api_key", "base_url, name, model, api_key_env"),
    ],
)
def test_an_unknown_key_is_named_with_the_known_ones(write: Any, text: str, name: str, known: str) -> None:
    message = refused(write(text))
    assert f"unknown key '{name}' (known here: {known}" in message
    assert "sk-secret" not in message


@pytest.mark.parametrize(
    ("addition", "said"),
    [
        ("[evidence]\nstrongest = 0\n", "evidence.strongest = 0: input should be greater than or equal to 1"),
        ("[evidence]\nexam_test = 90\n", "[evidence] exam_test = 90 needs firing_test ≥ 90 and background_test ≥ 180"),
        ("[score]\nscorers = ['guess']\n", "score.scorers.0 = 'guess': input should be"),
        ("[llm]\nmodel = 'm'\ntimeout_s = inf\n", "llm.timeout_s = inf: input should be a finite number"),
        ("[llm]\n", "key 'llm.model' is missing"),
        ("share = nan\n", "corpus.sources.0.share = nan"),
    ],
)
def test_a_value_out_of_range_is_told_with_its_name_and_itself(write: Any, addition: str, said: str) -> None:
    assert said in refused(write(MINIMAL + addition))


def test_all_problems_are_told_at_once(write: Any) -> None:
    message = refused(write('seed = -1\nextra = 1\n[sae]\npath = "x"\n'))
    assert all(
        part in message for part in ("seed = -1", "unknown key 'extra'", "key 'subject' is missing", "key 'corpus' is missing")
    )


def test_shares_must_leave_a_test_split(write: Any) -> None:
    message = refused(write(MINIMAL), {"corpus.train_share": 0.8, "corpus.validation_share": 0.2})
    assert message.endswith("[corpus] train_share + validation_share must stay below 1, or nothing is left to test on")


def test_a_file_that_is_not_there_or_is_no_toml(write: Any, tmp_path: Path) -> None:
    assert "there is no settings file" in refused(tmp_path / "none.toml")
    assert "autolabel init" in refused(tmp_path / "none.toml")
    assert "is not a TOML file" in refused(write("model: tiny"))
    path = write("")
    path.write_bytes(b'db = "caf\xe9"')
    assert "is not a TOML file" in refused(path)
    assert "cannot read settings file" in refused(tmp_path)


def test_overrides_win_and_make_tables_that_are_missing(write: Any) -> None:
    settings = read_settings(write("seed = 3\n" + MINIMAL), Settings, {"seed": 4, "subject.device": "cpu", "label.candidates": 5})
    assert (settings.seed, settings.subject.device, settings.label.candidates, settings.subject.model) == (4, "cpu", 5, "tiny")
    assert "unknown key 'label.nothing'" in refused(write(MINIMAL), {"label.nothing": 1})
    assert "llm = 3 must be a table for 'llm.model' to be set in it" in refused(write("llm = 3\n" + MINIMAL), {"llm.model": "m"})


def test_the_hash_follows_the_content_and_not_the_order_of_the_file(write: Any) -> None:
    one = read_settings(write("seed = 1\ndb = 'a'\n" + MINIMAL), Settings).config_hash
    two = read_settings(write("db = 'a'\nseed = 1\n" + MINIMAL), Settings).config_hash
    other = read_settings(write("db = 'a'\nseed = 2\n" + MINIMAL), Settings).config_hash
    assert one == two != other


def test_settings_cannot_be_changed_after_the_check(write: Any) -> None:
    settings = read_settings(write(MINIMAL), Settings)
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 5


def test_training_sizes_must_fit() -> None:
    content = {"name": "a", "subject": {"model": "m"}, "corpus": {"sources": [{"path": "x"}]}}
    with pytest.raises(ConfigError, match=r"'t': \[training\] k = 99 exceeds d_sae = 64"):
        validated({**content, "training": {"hookpoint": "layers.0", "d_sae": 64, "k": 99}}, TrainSettings, "t")
    with pytest.raises(ConfigError, match="buffer_tokens = 64 must hold at least two batches"):
        validated({**content, "training": {"hookpoint": "layers.0", "buffer_tokens": 64}}, TrainSettings, "t")


def test_a_permutation_has_the_seed_of_the_run_unless_it_names_one(write: Any) -> None:
    def seed(text: str, overrides: dict[str, Any] | None = None) -> int | None:
        return read_settings(write(text), Settings, overrides).subject_or_refuse.permutation_seed

    permuted = MINIMAL.replace('model = "tiny"', 'model = "tiny"\nweights = "permuted"')
    assert seed(MINIMAL) is None
    assert seed(permuted) == 0
    assert seed("seed = 7\n" + permuted) == 7
    assert seed(permuted, {"seed": 9}) == 9
    assert seed("seed = 7\n" + permuted.replace("[sae]", "permutation_seed = 3\n[sae]")) == 3
    training = {"name": "a", "seed": 4, "corpus": {"sources": [{"path": "x"}]}, "training": {"hookpoint": "layers.0"}}
    assert validated(training | {"subject": {"model": "m"}}, TrainSettings, "t").subject.permutation_seed is None
    assert (
        validated(training | {"subject": {"model": "m", "weights": "permuted"}}, TrainSettings, "t").subject.permutation_seed == 4
    )


@pytest.mark.parametrize(
    ("addition", "said"),
    [
        ("weights = 'random'", "subject.weights = 'random': input should be 'as_they_are' or 'permuted'"),
        (
            "weights = 'permuted'\nquantization = '8bit'",
            "needs the whole model on one device; leave out quantization and device_map",
        ),
        ("weights = 'permuted'\ndevice_map = 'auto'", "needs the whole model on one device; leave out quantization and device_map"),
        ("permutation_seed = 3", 'permutation_seed = 3 is for weights = "permuted" only'),
        ("weights = 'permuted'\npermutation_seed = -3", "subject.permutation_seed = -3: input should be greater"),
    ],
)
def test_what_cannot_be_permuted_is_refused(write: Any, addition: str, said: str) -> None:
    assert said in refused(write(MINIMAL.replace('model = "tiny"', f'model = "tiny"\n{addition}')))


def test_the_control_of_the_demo_sae_differs_in_its_weights_alone() -> None:
    folder = Path(__file__).parent.parent / "data"
    real, control = (read_settings(folder / f"{name}.toml", TrainSettings) for name in ("demo-sae", "demo-sae-permuted"))
    assert control.subject.weights == "permuted"
    plain = control.subject.model_copy(update={"weights": "as_they_are", "permutation_seed": None})
    assert control.model_copy(update={"name": real.name, "subject": plain}) == real


@pytest.mark.parametrize("name", ["demo-sae.toml", "demo-sae-permuted.toml"])
def test_shipped_settings_are_valid(name: str) -> None:
    path = Path(__file__).parent.parent / "data" / name
    assert read_settings(path, TrainSettings).training.architecture in ("topk", "l1")


def test_the_default_of_every_setting_passes_its_own_check() -> None:
    def sections(kind: type[Section]) -> list[type[Section]]:
        nested: list[Any] = [field.annotation for field in kind.model_fields.values()]
        found = [kind]
        for annotation in nested:
            for part in (annotation, *getattr(annotation, "__args__", ())):
                if isinstance(part, type) and issubclass(part, Section):
                    found += sections(part)
        return found

    for kind in sections(Settings) + sections(TrainSettings):
        fields: dict[str, FieldInfo] = kind.model_fields
        if kind is not Settings and not any(field.is_required() for field in fields.values()):
            kind.model_validate({name: field.get_default() for name, field in fields.items()})
