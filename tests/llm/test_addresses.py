import pytest

from autolabel.llm.addresses import is_own


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("http://127.0.0.1:8000/v1", True),
        ("http://localhost/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://192.168.1.20:8000/v1", True),
        ("http://10.0.0.7/v1", True),
        ("http://vllm:8000/v1", True),
        ("http://gpu-3.cluster.internal/v1", True),
        ("http://Box.LAN./v1", True),
        ("https://api.openai.com/v1", False),
        ("https://8.8.8.8/v1", False),
        ("https://localhost.example.org/v1", False),
        ("https://127.0.0.1.example.org/v1", False),
        ("http://user:key@api.example.org/v1", False),
        ("not an address", False),
    ],
)
def test_whose_machine_an_address_is_on(address: str, own: bool) -> None:
    assert is_own(address) is own
