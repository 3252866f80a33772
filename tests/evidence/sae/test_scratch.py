import torch

from autolabel.evidence.sae.scratch import Scratch

CPU = torch.device("cpu")


def test_memory_is_kept_until_more_or_another_type_is_needed() -> None:
    scratch = Scratch()
    first = scratch.take("a", (4, 6), torch.float32, CPU)
    assert scratch.take("a", (3, 6), torch.float32, CPU).data_ptr() == first.data_ptr()
    assert scratch.take("b", (3, 6), torch.float32, CPU).data_ptr() != first.data_ptr()
    larger = scratch.take("a", (5, 6), torch.float32, CPU)
    assert larger.shape == (5, 6)
    assert larger.data_ptr() != first.data_ptr()
    assert scratch.take("a", (2, 2), torch.bool, CPU).dtype == torch.bool
    assert scratch.take("a", (2, 2), torch.bool, torch.device("meta")).is_meta


def test_what_was_made_under_inference_mode_can_be_written_to_outside_it() -> None:
    scratch = Scratch()
    with torch.inference_mode():
        scratch.take("a", (2,), torch.float32, CPU).fill_(1.0)
    assert scratch.take("a", (2,), torch.float32, CPU).fill_(2.0).tolist() == [2.0, 2.0]
