"""The table `[store.s3]`."""

import pytest

from imgtag.config.shape import table
from imgtag_s3 import SPEC
from imgtag_s3.settings import S3StoreSettings

WHO = {"access_key": "a", "secret_key": "s"}


@pytest.mark.parametrize("endpoint", ["localhost:9000", "http://", "ftp://a", "http://a/b", "http://u@a", "http://a?b"])
def test_endpoint_is_a_url(endpoint):
    """The endpoint is a URL of scheme, host and port."""
    with pytest.raises(ValueError, match="endpoint"):
        S3StoreSettings(endpoint=endpoint, **WHO)


def test_secrets_are_not_shown():
    """Settings may be printed."""
    assert "s3cr3t" not in repr(S3StoreSettings(endpoint="http://a", access_key="a", secret_key="s3cr3t"))


def test_timeouts_fit_the_deadline():
    """All tries of a request fit in its deadline."""
    with pytest.raises(ValueError, match="deadline"):
        S3StoreSettings(endpoint="http://a", read_timeout=30, **WHO)


@pytest.mark.parametrize(
    ("endpoint", "path_style", "in_host"),
    [
        ("http://127.0.0.1:9000", None, False),
        ("https://s3.eu-central-1.amazonaws.com", None, True),
        ("https://s3.eu-central-1.amazonaws.com", True, False),
        ("https://a.example", False, True),
    ],
)
def test_style_of_urls(endpoint, path_style, in_host):
    """In the path by default, in the host name at AWS; the setting wins."""
    assert S3StoreSettings(endpoint=endpoint, path_style=path_style, **WHO).bucket_in_host is in_host


def test_both_keys_may_be_files():
    """Each half of the credentials has its file."""
    assert {"access_key_file", "secret_key_file", "session_token_file"} <= table(S3StoreSettings).keys()


def test_spec_is_light():
    """Showing the plugin does not import what using it needs."""
    assert SPEC.factory == "imgtag_s3.store:S3Store"
