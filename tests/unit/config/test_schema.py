"""Values that are written in more than one way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from imgtag.config.schema import CoreSettings, RuleSettings, format_size, parse_size
from imgtag.flow.listen import parse_listen


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("1b", 1),
        ("2 kB", 2000),
        ("2k", 2000),
        ("64 MiB", 64 * 2**20),
        ("64Mi", 64 * 2**20),
        ("1.5 GB", 1.5e9),
    ],
)
def test_sizes_have_units(text: str, expected: int) -> None:
    """Decimal units as in the SI, binary ones with an i, as in Kubernetes too."""
    assert expected == parse_size(text)


@pytest.mark.parametrize("text", ["", "MiB", "1 XB", "64 MiB please", "-1", "1e6"])
def test_what_is_no_size_is_left_to_complain_of(text: str) -> None:
    """The number type then says what is wrong with it."""
    assert text == parse_size(text)


@given(st.integers(min_value=0, max_value=2**60))
def test_sizes_come_back(size: int) -> None:
    """A size that is shown is read as the same."""
    assert size == parse_size(format_size(size))


def test_listen_addresses() -> None:
    """Names, numbers and IPv6 in brackets."""
    assert ("127.0.0.1", 9464) == parse_listen("127.0.0.1:9464")
    assert ("::1", 1) == parse_listen("[::1]:1")
    assert ("", 80) == parse_listen(":80")
    for wrong in ("9464", "host", "::1:80", "h:99999", "h:x"):
        with pytest.raises(ValueError, match=r"write HOST:PORT|address in brackets"):
            parse_listen(wrong)


@pytest.mark.parametrize(
    "model", [*(type(field.default) for field in CoreSettings.model_fields.values()), RuleSettings]
)
def test_every_setting_is_described(model: type) -> None:
    """The reference is made from the descriptions."""
    if issubclass(model, BaseModel):
        assert [] == [name for name, field in model.model_fields.items() if not field.description]
