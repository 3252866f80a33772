from typing import Any

import pytest
from pydantic import ValidationError

from autolabel.config import SaeSettings

HOOK = "layers.3.mlp.down_proj:input"


def test_an_sae_needs_a_path_and_neurons_none() -> None:
    assert SaeSettings(path="sae").kind == "sae"
    neurons = SaeSettings.model_validate({"kind": "neurons", "hookpoint": HOOK, "k": 5})
    assert (neurons.path, neurons.hookpoint, neurons.k) == ("", HOOK, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "Field required"),
        ({"path": ""}, 'path = "" names no SAE; give the folder with its files, or set kind = "neurons"'),
        ({"path": "sae", "k": 4}, "k = 4 is for neurons; an SAE's own settings say its k"),
        ({"kind": "neurons"}, "neurons need a hookpoint, the input of a down projection"),
        ({"kind": "neurons", "hookpoint": HOOK, "path": "sae"}, 'neurons have no files; leave out path = "sae"'),
        ({"kind": "neurons", "hookpoint": HOOK, "k": 0}, "greater than or equal to 1"),
        ({"kind": "transcoder", "path": "sae"}, "'sae' or 'neurons'"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SaeSettings.model_validate(values)
    assert message in caught.value.errors()[0]["msg"]
