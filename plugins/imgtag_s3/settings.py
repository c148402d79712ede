"""The table `[store.s3]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from imgtag.plugin.spec import Settings

Lock = Literal["retention", "legal_hold", "replica"]

TRIES = 2
"""How often a request that only reads is sent before it counts as unanswered."""


def _endpoint(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ValueError("write it as a URL: http://127.0.0.1:9000")
    if url.path.strip("/") or url.query or url.fragment or url.username:
        raise ValueError("the endpoint is scheme, host and port alone")
    return f"{url.scheme}://{url.netloc}"


class S3StoreSettings(Settings):
    """Where the server is, who we are there, and how long it is waited for."""

    endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        description="URL of the server: scheme, host, port.", examples=["http://127.0.0.1:9000"]
    )
    access_key: str = Field(min_length=1, description="Access key of a user of the sidecar's own.")
    secret_key: SecretStr = Field(min_length=1, description="The secret key.")
    session_token: SecretStr | None = Field(default=None, description="The token of temporary credentials.")
    region: str = Field(default="us-east-1", min_length=1, description="Region that requests are signed for.")
    path_style: bool | None = Field(
        default=None,
        description="Whether the bucket stands in the path of URLs or in the host name. Default: in the path, but for "
        "amazonaws.com.",
    )
    ca: Path | None = Field(
        default=None,
        description="File of CA certificates (PEM) that the server's is checked with. Default: the system's.",
    )
    notify: tuple[str, ...] = Field(
        default=(),
        description="ARNs of the notification targets that `imgtag setup` puts on the buckets. "
        "Default: those of kind `nats` that a MinIO tells its administrators.",
        examples=[["arn:minio:sqs::FAST:nats", "arn:minio:sqs::SAFE:nats"]],
    )
    if_match: bool | None = Field(
        default=None,
        description="Whether the server honours If-Match on PutObject. Default: tried once, in a bucket made for it.",
    )
    write_on: frozenset[Lock] = Field(
        default=frozenset(),
        description="Kinds of protected objects that are labelled on the object all the same: `retention`, "
        "`legal_hold` (a further version under the same lock), `replica`. Default: these are only indexed.",
    )
    probe_prefix: str = Field(
        default="imgtag-probe-",
        pattern=r"^[a-z0-9][a-z0-9-]{2,40}$",
        description="How the names of the short-lived buckets begin in which the server's habits are tried.",
    )
    connect_timeout: float = Field(default=2.0, gt=0, description="Seconds to wait for a connection.")
    read_timeout: float = Field(default=8.0, gt=0, description="Seconds to wait for the next bytes of an answer.")
    deadline: float = Field(
        default=20.0, gt=0, description="Seconds that a request may take in all; below the time that stopping may take."
    )
    connections: int = Field(default=16, ge=1, le=256, description="Requests at the same time, at most.")

    @model_validator(mode="after")
    def _timeouts(self) -> Self:
        if TRIES * (self.connect_timeout + self.read_timeout) > self.deadline:
            raise ValueError(f"{TRIES} x (connect_timeout + read_timeout) must not be over deadline")
        return self

    @property
    def secure(self) -> bool:
        """Whether the server is spoken to by TLS."""
        return self.endpoint.startswith("https:")

    @property
    def host(self) -> str:
        """Host and port as URLs have them."""
        return urlsplit(self.endpoint).netloc

    @property
    def bucket_in_host(self) -> bool:
        """Whether URLs are of the virtual-host style."""
        aws = (urlsplit(self.endpoint).hostname or "").endswith("amazonaws.com")
        return aws if self.path_style is None else not self.path_style
