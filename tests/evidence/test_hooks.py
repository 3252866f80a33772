"""Every name of a hook lands on the tensor it means: checked against tensors computed by hand, in a tiny model of each family."""

import math
from collections.abc import Iterator

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from autolabel.errors import DataError
from autolabel.evidence.capture import capture
from autolabel.evidence.hooks import Hookpoint, in_other_layers, in_same_layer, resolve

LAYERS, WIDTH, HEADS, VOCABULARY = 2, 16, 2, 50
FAMILIES = ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_neox"]
RMS = [family for family in FAMILIES if not family.startswith("gpt")]
GEMMAS = ["gemma", "gemma2", "gemma3_text"]
POST_NORMED = ["gemma2", "gemma3_text"]


def tiny(family: str) -> torch.nn.Module:
    """A random model whose norms' weights and biases are not 1 and 0, so that it shows whether they were applied."""
    torch.manual_seed(0)
    sizes: dict[str, float] = {
        "vocab_size": VOCABULARY,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
    }
    if family == "gpt2":
        sizes = {"vocab_size": VOCABULARY, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 32}
    elif family != "gpt_neox":
        sizes |= {"num_key_value_heads": 1, "head_dim": 12, "rms_norm_eps": 1e-5}
    if family != "gpt2":
        sizes |= {"intermediate_size": 24}
    specials = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = AutoConfig.for_model(family, **sizes, **specials)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.3 * torch.randn_like(parameter)
    return model


class Probe:
    """A model that answers with the tensor a name means."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.model = tiny(family)
        self.base: torch.nn.Module = getattr(self.model, self.model.base_model_prefix)
        self.modules = dict(self.base.named_modules())
        self.ids = torch.randint(3, VOCABULARY, (2, 7), generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            self.hidden = self.model(self.ids, output_hidden_states=True).hidden_states

    def point(self, name: str) -> Hookpoint:
        found = resolve(name, self.family, self.modules)
        assert found is not None, name
        return found

    def __call__(self, name: str) -> torch.Tensor:
        point = self.point(name)
        return capture(self.base, self.ids, [point])[point]

    def module(self, llama: str, gpt2: str = "", neox: str = "") -> torch.nn.Module:
        return self.modules[{"gpt2": gpt2, "gpt_neox": neox}.get(self.family, llama)]

    def gain(self, norm: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        weight = 1 + norm.weight if self.family in GEMMAS else norm.weight
        return x * weight + getattr(norm, "bias", 0)

    def pre_mlp_norm(self, layer: int) -> torch.nn.Module:
        name = "pre_feedforward_layernorm" if self.family in POST_NORMED else "post_attention_layernorm"
        return self.module(f"layers.{layer}.{name}", f"h.{layer}.ln_2", f"layers.{layer}.post_attention_layernorm")


@pytest.fixture(scope="module", params=FAMILIES)
def probe(request: pytest.FixtureRequest) -> Iterator[Probe]:
    with torch.inference_mode():
        yield Probe(request.param)


def by_hand(x: torch.Tensor, centred: bool) -> torch.Tensor:
    x = x - x.mean(-1, keepdim=True) if centred else x
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_residual_stream_is_that_of_the_hidden_states(probe: Probe) -> None:
    close(probe("blocks.0.hook_resid_pre"), probe.hidden[0])
    close(probe("blocks.0.hook_resid_post"), probe.hidden[1])
    close(probe("blocks.1.hook_resid_pre"), probe.hidden[1])


def test_after_the_last_layer_it_is_not_yet_normed(probe: Probe) -> None:
    last = probe("blocks.1.hook_resid_post")
    assert not torch.allclose(last, probe.hidden[2], atol=1e-2)
    close(probe.module("norm", "ln_f", "final_layer_norm")(last), probe.hidden[2])
    close(
        probe.gain(probe.module("norm", "ln_f", "final_layer_norm"), probe("ln_final.hook_normalized")),
        probe.hidden[2],
    )


def test_gemma_embeddings_are_scaled_and_others_are_not(probe: Probe) -> None:
    embedded = probe.model.get_input_embeddings().weight[probe.ids]
    close(probe("hook_embed"), embedded * (math.sqrt(WIDTH) if probe.family in GEMMAS else 1))
    assert torch.equal(probe("embed"), probe("hook_embed"))
    if probe.family == "gpt2":
        close(probe("hook_embed") + probe("hook_pos_embed"), probe.hidden[0])
    else:
        close(probe("hook_embed"), probe.hidden[0])


@pytest.mark.parametrize("layer", [0, 1])
def test_attention_and_mlp_add_up_to_the_residual_stream(probe: Probe, layer: int) -> None:
    block = f"blocks.{layer}."
    total = probe(block + "hook_resid_pre") + probe(block + "hook_attn_out") + probe(block + "hook_mlp_out")
    close(total, probe(block + "hook_resid_post"))


def test_the_middle_of_the_residual_stream_has_attention_but_not_the_mlp(probe: Probe) -> None:
    if probe.family == "gpt_neox":
        assert resolve("blocks.1.hook_resid_mid", probe.family, probe.modules) is None
        close(probe("blocks.1.hook_mlp_in"), probe("blocks.1.hook_resid_pre"))
        return
    middle = probe("blocks.1.hook_resid_pre") + probe("blocks.1.hook_attn_out")
    close(probe("blocks.1.hook_resid_mid"), middle)
    close(probe("blocks.1.hook_mlp_in"), middle)


def test_heads_are_read_before_they_are_mixed(probe: Probe) -> None:
    z = probe("blocks.1.attn.hook_z")
    assert z.shape[-1] == HEADS * (8 if probe.family.startswith("gpt") else 12)
    mixed = probe.module("layers.1.self_attn.o_proj", "h.1.attn.c_proj", "layers.1.attention.dense")(z)
    close(mixed, probe("blocks.1.attn.hook_out"))
    after = probe.modules["layers.1.post_attention_layernorm"](mixed) if probe.family in POST_NORMED else mixed
    close(after, probe("blocks.1.hook_attn_out"))


def test_neurons_are_read_after_the_nonlinearity(probe: Probe) -> None:
    post = probe("blocks.1.mlp.hook_post")
    mlp = probe.module("layers.1.mlp", "h.1.mlp", "layers.1.mlp")
    pre = probe("blocks.1.mlp.hook_pre")
    gated = mlp.up_proj(probe("blocks.1.mlp.hook_in")) if probe.family in RMS else 1
    close((mlp.act_fn if probe.family in RMS else mlp.act)(pre) * gated, post)
    out = probe.module("layers.1.mlp.down_proj", "h.1.mlp.c_proj", "layers.1.mlp.dense_4h_to_h")(post)
    close(out, probe("blocks.1.mlp.hook_out"))
    after = probe.modules["layers.1.post_feedforward_layernorm"](out) if probe.family in POST_NORMED else out
    close(after, probe("blocks.1.hook_mlp_out"))


def test_a_normalized_hook_is_before_the_norms_own_weight(probe: Probe) -> None:
    centred = probe.family.startswith("gpt")
    normalized = probe("blocks.1.ln2.hook_normalized")
    close(normalized, by_hand(probe("blocks.1.hook_mlp_in"), centred))
    close(probe.gain(probe.pre_mlp_norm(1), normalized), probe("blocks.1.mlp.hook_in"))
    close(probe("blocks.1.ln1.hook_normalized"), by_hand(probe("blocks.1.hook_resid_pre"), centred))
    first = probe.module("layers.1.input_layernorm", "h.1.ln_1", "layers.1.input_layernorm")
    close(probe.gain(first, probe("blocks.1.ln1.hook_normalized")), probe("blocks.1.attn.hook_in"))


def test_names_of_dictionary_learning_and_newer_transformer_lens(probe: Probe) -> None:
    for alias, name in {
        "resid_post_layer_1": "blocks.1.hook_resid_post",
        "resid_pre_layer_1": "blocks.1.hook_resid_pre",
        "mlp_out_layer_1": "blocks.1.mlp.hook_out",
        "attention_out_layer_1": "blocks.1.attn.hook_out",
        "resid_0": "blocks.0.hook_resid_post",
        "blocks.1.hook_in": "blocks.1.hook_resid_pre",
        "blocks.0.hook_out": "blocks.0.hook_resid_post",
    }.items():
        assert probe.point(alias) == probe.point(name)


def test_paths_may_carry_the_prefix_of_the_base_model_and_a_side(probe: Probe) -> None:
    path = str(probe.point("blocks.1.hook_resid_post"))
    prefix = probe.model.base_model_prefix
    for name in (path, f"{prefix}.{path}", f"model.{prefix}.{path}", f"{prefix}.{path}.output", f"{path}:output"):
        assert str(probe.point(name)) == path
    for name in (f"{path}:input", f"{prefix}.{path}.input"):
        assert str(probe.point(name)) == f"{path}:input"


def test_several_places_come_from_one_forward_pass_that_stops_at_the_last(probe: Probe) -> None:
    names = ["blocks.0.hook_resid_post", "hook_embed", "blocks.0.mlp.hook_post", "blocks.0.ln2.hook_normalized"]
    before = n_hooks(probe)
    runs: list[int] = []
    layers = probe.base.get_submodule("h" if probe.family == "gpt2" else "layers")
    handles = [layer.register_forward_hook(lambda *_: runs.append(1)) for layer in layers]
    points = [probe.point(name) for name in names]
    together = capture(probe.base, probe.ids, points)
    assert len(runs) == 1
    for handle in handles:
        handle.remove()
    for name, point in zip(names, points, strict=True):
        assert torch.equal(together[point], probe(name))
    assert n_hooks(probe) == before


def n_hooks(probe: Probe) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in probe.modules.values())


NOWHERE = """model blocks.7.hook_resid_post blocks.0.hook_wrong hook_wrong resid_post_layer_9 layers.0.wrong 9 blocks.0.hook_embed
hook_resid_post layers.0.wrong:input :input"""


@pytest.mark.parametrize("name", ["", *NOWHERE.split()])
def test_what_is_nowhere_resolves_to_nothing(probe: Probe, name: str) -> None:
    assert resolve(name, probe.family, probe.modules) is None


def test_gemma_scope_2_names() -> None:
    probe = Probe("gemma3_text")
    assert str(probe.point("model.layers.1.pre_feedforward_layernorm.output")) == "layers.1.pre_feedforward_layernorm"
    assert str(probe.point("model.layers.1.post_feedforward_layernorm.output")) == "layers.1.post_feedforward_layernorm"
    assert str(probe.point("model.layers.1.self_attn.o_proj.input")) == "layers.1.self_attn.o_proj:input"
    assert str(probe.point("model.layers.1.output")) == "layers.1"
    close(probe("model.layers.1.pre_feedforward_layernorm.output"), probe("blocks.1.mlp.hook_in"))


def test_a_model_that_also_sees_has_its_text_layers_found() -> None:
    modules = ["language_model.layers.0", "language_model.layers.1", "language_model.embed_tokens", "vision_tower.encoder.layers.0"]
    modules += ["language_model.layers.1.mlp"]
    for name in (
        "layers.1",
        "model.layers.1",
        "model.language_model.layers.1",
        "blocks.1.hook_resid_post",
        "language_model.layers.1",
    ):
        assert str(resolve(name, "gemma3_text", modules)) == "language_model.layers.1"
    assert str(resolve("hook_embed", "llama", modules)) == "language_model.embed_tokens"
    point = Hookpoint("language_model.layers.1")
    assert [str(other) for other in in_other_layers(point, modules)] == ["language_model.layers.0"]
    assert [str(other) for other in in_same_layer(point, "gemma3_text", modules)] == [
        "language_model.layers.1:input",
        "language_model.layers.1.mlp:input",
        "language_model.layers.1.mlp",
    ]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "gpt_neox"])
def test_an_unknown_type_is_read_by_what_its_layers_hold(family: str) -> None:
    modules = dict(getattr(tiny(family), tiny(family).base_model_prefix).named_modules())
    for name in ("blocks.1.hook_resid_post", "blocks.1.hook_mlp_out", "blocks.1.attn.hook_z", "blocks.0.ln2.hook_normalized"):
        assert resolve(name, "brand_new", modules) == resolve(name, family, modules) is not None


def test_of_an_unknown_layer_only_what_goes_in_and_out_is_known() -> None:
    modules = ["blocks", "blocks.0", "blocks.1", "blocks.1.ffn"]
    assert str(resolve("blocks.1.hook_resid_post", "brand_new", modules)) == "blocks.1"
    assert str(resolve("blocks.1.hook_resid_pre", "brand_new", modules)) == "blocks.1:input"
    assert resolve("blocks.1.hook_mlp_out", "brand_new", modules) is None
    assert resolve("blocks.1.hook_resid_post", "brand_new", ["stem"]) is None


def test_the_places_nearby_are_the_same_one_in_other_layers_and_others_in_the_same(probe: Probe) -> None:
    own = probe.point("blocks.0.hook_mlp_out")
    assert in_other_layers(own, probe.modules) == [probe.point("blocks.1.hook_mlp_out")]
    others = in_same_layer(own, probe.family, probe.modules)
    wanted = ["blocks.0.hook_resid_post", "blocks.0.hook_resid_pre", "blocks.0.hook_attn_out"]
    assert {probe.point(name) for name in wanted} <= set(others)
    assert own not in others
    assert len(set(others)) == len(others)
    embedded = Hookpoint("wte" if probe.family == "gpt2" else "embed_in" if probe.family == "gpt_neox" else "embed_tokens")
    assert in_other_layers(embedded, probe.modules) == []
    assert probe.point("blocks.0.hook_resid_post") in in_same_layer(embedded, probe.family, probe.modules)


def test_normalized_needs_a_norm() -> None:
    probe = Probe("llama")
    before = n_hooks(probe)
    with pytest.raises(DataError, match=r"'layers\.0\.mlp:normalized' needs a norm, but the module 'layers\.0\.mlp' is a LlamaMLP"):
        capture(probe.base, probe.ids, [Hookpoint("layers.1"), Hookpoint("layers.0.mlp", "normalized")])
    assert n_hooks(probe) == before
