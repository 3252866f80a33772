"""Prices: written down or unknown, never guessed."""

from pathlib import Path

import pytest

from autolabel.errors import ConfigError
from autolabel.llm.prices import FILE, Prices, _read
from autolabel.resources import resource_dir

OPENAI = "https://api.openai.com/v1"
SHIPPED = _read(resource_dir("data") / FILE)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(
        """
        [[price]]
        model = "*"
        endpoint = "http://127.0.0.1:8000"
        input_usd = 0
        output_usd = 0
        [[price]]
        model = "gpt-4.1-mini"
        input_usd = 1.0
        cached_input_usd = 2.0
        output_usd = 3.0
        [[price]]
        model = "gpt-4.1-mini-tuned-*"
        input_usd = 9.0
        output_usd = 9.0
        """
    )
    return path


@pytest.mark.parametrize("price", SHIPPED, ids=lambda price: price.model)
def test_a_shipped_price_is_plausible_dated_and_says_where_it_is_from(price: object) -> None:
    entry = SHIPPED[SHIPPED.index(price)]  # type: ignore[arg-type]
    assert entry.as_of is not None
    assert entry.source is not None
    assert entry.source.startswith("https://")
    assert entry.endpoint.startswith("https://")
    assert entry.input_usd <= entry.output_usd
    assert entry.cached_input_usd is None or entry.cached_input_usd < entry.input_usd
    assert "*" not in entry.model, "a price for models nobody has looked up would be a guess"


def test_a_model_is_found_with_and_without_its_date() -> None:
    prices = Prices.load()
    mini = prices.price_of(OPENAI, "gpt-4.1-mini")
    assert mini is not None
    assert mini.model == "gpt-4.1-mini"
    assert prices.price_of(OPENAI, "gpt-4.1-mini-2025-04-14") == mini
    assert prices.price_of(OPENAI + "/", "gpt-4.1-mini-20250414") == mini
    older, newer = (prices.price_of(OPENAI, f"gpt-4o-2024-{day}") for day in ("05-13", "08-06"))
    assert older is not None
    assert newer is not None
    assert older.input_usd == 2 * newer.input_usd, "the entry that names the date wins"


@pytest.mark.parametrize(
    ("endpoint", "model"),
    [
        (OPENAI, "gpt-4.1-mini-audio"),
        (OPENAI, "ft:gpt-4.1-mini-2025-04-14:me::x"),
        (OPENAI, "no-such-model"),
        ("https://api.openai.com.example.org/v1", "gpt-4.1-mini"),
        ("https://eu.api.openai.com/v1", "gpt-4.1-mini"),
        ("http://127.0.0.1:8000/v1", "gpt-4.1-mini"),
    ],
)
def test_what_is_not_written_down_is_unknown(endpoint: str, model: str) -> None:
    assert Prices.load().price_of(endpoint, model) is None


def test_the_users_file_wins_and_the_longest_match_counts(own: Path) -> None:
    prices = Prices.load(own)
    free = prices.price_of("http://127.0.0.1:8000/v1", "anything")
    assert free is not None
    assert free.usd(10**6, 0, 10**6) == 0
    mini = prices.price_of(OPENAI, "gpt-4.1-mini-2025-04-14")
    assert mini is not None
    assert mini.input_usd == 1
    tuned = prices.price_of(OPENAI, "gpt-4.1-mini-tuned-me")
    assert tuned is not None
    assert tuned.input_usd == 9
    assert prices.price_of(OPENAI, "gpt-4.1") is not None, "the shipped ones are still there"


def test_what_a_request_costs(own: Path) -> None:
    mini = Prices.load().price_of(OPENAI, "gpt-4.1-mini")
    assert mini is not None
    assert mini.usd(1_000_000, 0, 0) == pytest.approx(0.40)
    assert mini.usd(1_000_000, 1_000_000, 0) == pytest.approx(0.10)
    assert mini.usd(0, 0, 1_000_000) == pytest.approx(1.60)
    assert mini.usd(1000, 400, 10, batch=True) == pytest.approx(mini.usd(1000, 400, 10) / 2)
    assert mini.worst_usd(1000, 50) == pytest.approx(mini.usd(1000, 0, 50))
    dearer_when_cached = Prices.load(own).price_of(OPENAI, "gpt-4.1-mini")
    assert dearer_when_cached is not None
    assert dearer_when_cached.worst_usd(1_000_000, 0) == pytest.approx(2.0)


def test_cached_tokens_are_as_dear_as_others_where_nothing_is_said() -> None:
    price = Prices.load().price_of(OPENAI, "o4-mini")
    assert price is not None
    assert price.cached_input_usd is None
    assert price.usd(1000, 1000, 0) == price.usd(1000, 0, 0)


ENTRY = '[[price]]\nmodel = "m"\ninput_usd = 1.0\noutput_usd = 2.0\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("price = ", "is not a TOML file"),
        ("", "key 'price' is missing"),
        (ENTRY.replace("input_usd = 1.0\n", ""), r"key 'price\.0\.input_usd' is missing"),
        (ENTRY.replace("1.0", "-1"), r"price\.0\.input_usd = -1: input should be greater than or equal to 0"),
        (ENTRY.replace("1.0", '"a lot"'), r"price\.0\.input_usd = 'a lot': input should be a valid number"),
        (ENTRY.replace("1.0", "nan"), r"price\.0\.input_usd = nan: "),
        (ENTRY + "batch_factor = 2\n", r"price\.0\.batch_factor = 2: input should be less than or equal to 1"),
        (ENTRY + "currency = 'EUR'\n", r"unknown key 'price\.0\.currency' \(known here: model, endpoint, input_usd, "),
        (ENTRY + "as_of = 'soon'\n", r"price\.0\.as_of = 'soon': "),
    ],
)
def test_a_malformed_file_is_refused_by_file_key_and_value(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=said) as refused:
        Prices.load(path)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no price file '.*none\.toml'"):
        Prices.load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read price file"):
        Prices.load(tmp_path)
