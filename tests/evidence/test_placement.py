"""What reaches `from_pretrained`, and where token ids go: without a GPU, by looking at the arguments."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from autolabel.config import SubjectSettings, validated
from autolabel.errors import ConfigError, DataError
from autolabel.evidence import placement
from autolabel.evidence.placement import device_of, dtype_of, input_device, loading_arguments, number_format
from autolabel.evidence.subject import Subject

CPU = torch.device("cpu")
CUDA = torch.device("cuda", 1)


def settings(**values: Any) -> SubjectSettings:
    return SubjectSettings(model="somewhere", **values)


@pytest.fixture
def everything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda name: SimpleNamespace(name=name))


def test_a_plain_model_is_loaded_plainly() -> None:
    assert loading_arguments(settings(), CPU, torch.bfloat16) == {"dtype": torch.bfloat16}


@pytest.mark.usefixtures("everything_installed")
def test_a_device_map_reaches_transformers() -> None:
    arguments = loading_arguments(settings(device_map="balanced"), CUDA, torch.bfloat16)
    assert arguments == {"dtype": torch.bfloat16, "device_map": "balanced"}


@pytest.mark.usefixtures("everything_installed")
def test_eight_bits_on_the_device_of_the_settings() -> None:
    arguments = loading_arguments(settings(quantization="8bit"), CUDA, torch.float16)
    quantization = arguments["quantization_config"]
    assert isinstance(quantization, BitsAndBytesConfig)
    assert quantization.load_in_8bit
    assert not quantization.load_in_4bit
    assert arguments["device_map"] == {"": CUDA}
    assert not logging.getLogger("bitsandbytes.autograd._functions").isEnabledFor(logging.WARNING)


@pytest.mark.usefixtures("everything_installed")
def test_four_bits_compute_in_the_number_format_of_the_settings_and_spread() -> None:
    arguments = loading_arguments(settings(quantization="4bit", device_map="auto"), CUDA, torch.bfloat16)
    quantization = arguments["quantization_config"]
    assert quantization.load_in_4bit
    assert quantization.bnb_4bit_compute_dtype == torch.bfloat16
    assert quantization.bnb_4bit_quant_type == "nf4"
    assert arguments["device_map"] == "auto"


@pytest.mark.parametrize(
    ("values", "installed", "message"),
    [
        (
            {"quantization": "8bit"},
            {"accelerate"},
            'quantization = "8bit" needs bitsandbytes, which is not installed; `pip install bits',
        ),
        (
            {"quantization": "4bit"},
            set(),
            "needs bitsandbytes and accelerate, which are not installed; `pip install bitsandbytes acc",
        ),
        (
            {"device_map": "auto"},
            set(),
            'device_map = "auto" needs accelerate, which is not installed; `pip install accelerate`, or le',
        ),
    ],
)
def test_a_missing_package_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], installed: set[str], message: str
) -> None:
    monkeypatch.setattr(placement, "find_spec", lambda name: SimpleNamespace() if name in installed else None)
    with pytest.raises(DataError) as caught:
        loading_arguments(settings(**values), CPU, torch.float32)
    assert message in str(caught.value)


def test_a_device_and_a_device_map_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match='device_map = "auto" chooses the devices; leave out device = "cuda:1" or device_map'):
        validated({"model": "m", "device": "cuda:1", "device_map": "auto"}, SubjectSettings, "x.toml")


def test_the_number_format_follows_what_the_hardware_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for supported, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda supported=supported: supported)
        assert dtype_of(settings(dtype="auto"), CPU) == dtype
    for capability, dtype in (((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16), ((7, 5), torch.float32)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device, capability=capability: capability)
        assert dtype_of(settings(dtype="auto"), CUDA) == dtype
    assert dtype_of(settings(dtype="auto"), torch.device("mps")) == torch.float32
    assert dtype_of(settings(dtype="float16"), CPU) == torch.float16


def test_the_number_format_in_words() -> None:
    assert number_format(settings(), torch.bfloat16) == "bfloat16"
    assert number_format(settings(quantization="4bit"), torch.float16) == "float16, 4bit"


def test_the_device_is_a_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert device_of(settings()).type == device
    assert device_of(settings(device="cuda:1")) == CUDA


def test_token_ids_go_to_the_embedding_or_to_where_it_will_run() -> None:
    def model(device: str) -> torch.nn.Module:
        return SimpleNamespace(get_input_embeddings=lambda: embedding.to(device))  # type: ignore[return-value]

    embedding = torch.nn.Embedding(3, 2)
    assert input_device(model("cpu"), CUDA) == CPU
    assert input_device(model("meta"), CPU) == CPU
    embedding._hf_hook = SimpleNamespace(execution_device="cuda:1")  # type: ignore[assignment]
    assert input_device(model("meta"), CPU) == CUDA


def test_what_the_settings_say_is_what_transformers_is_called_with(
    monkeypatch: pytest.MonkeyPatch, subject_settings: SubjectSettings, model_folder: Path, everything_installed: None
) -> None:
    called: list[dict[str, Any]] = []
    moved: list[object] = []
    load = AutoModelForCausalLM.from_pretrained

    def from_pretrained(where: str, **arguments: Any) -> torch.nn.Module:
        called.append(arguments)
        model: torch.nn.Module = load(where, dtype=arguments["dtype"])
        monkeypatch.setattr(model, "to", moved.append)
        return model

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", from_pretrained)
    subject = Subject.load(subject_settings.model_copy(update={"quantization": "8bit"}))
    assert called[0]["quantization_config"].load_in_8bit
    assert called[0]["device_map"] == {"": CPU}
    assert moved == []  # bitsandbytes' weights cannot be moved
    assert subject.number_format == "float32, 8bit"
    assert subject.device == CPU
    assert str(model_folder).endswith(subject.name.rsplit("/", 1)[-1])


def test_a_device_map_changes_no_activation(subject: Subject, subject_settings: SubjectSettings) -> None:
    pytest.importorskip("accelerate")
    spread = Subject.load(subject_settings.model_copy(update={"device": "auto", "device_map": "auto"}))
    ids = torch.arange(5, 25)[None]
    names = ["layers.1", "layers.2.mlp.down_proj:input", "blocks.1.ln2.hook_normalized"]
    one, two = (model.capture(ids, names) for model in (subject, spread))
    for name in names:
        torch.testing.assert_close(one[name], two[name].to(one[name].device), rtol=1e-4, atol=1e-4)


def test_weights_that_lie_elsewhere_come_and_go_although_the_pass_is_cut_short(
    subject: Subject, subject_settings: SubjectSettings
) -> None:
    accelerate = pytest.importorskip("accelerate")
    elsewhere = Subject.load(subject_settings)
    accelerate.cpu_offload(elsewhere._model, execution_device=CPU)
    assert input_device(elsewhere._model, CUDA) == CPU
    ids = torch.arange(5, 25)[None]
    names = ["layers.1", "layers.2.mlp.down_proj:input", "layers.0.mlp.up_proj"]
    for _ in range(2):
        one, two = (model.capture(ids, names) for model in (subject, elsewhere))
        assert all(torch.equal(one[name], two[name]) for name in names)
        assert {parameter.device.type for parameter in elsewhere._model.parameters()} == {"meta"}
