"""The table `[store.s3]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from imgtag.plugin.spec import FROM_FILE, Settings

ProtectedKind = Literal["retention", "legal_hold", "replica"]

MAX_TRIES = 2
"""How often a request that only reads is sent before it counts as unanswered."""


def _parse_endpoint(text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise ValueError("write it as a URL: http://127.0.0.1:9000")
    if url.path.strip("/") or url.query or url.fragment or url.username:
        raise ValueError("the endpoint is scheme, host and port only")
    return f"{url.scheme}://{url.netloc}"


class S3StoreSettings(Settings):
    """The server's address, the sidecar's credentials, and time limits."""

    endpoint: Annotated[str, AfterValidator(_parse_endpoint)] = Field(
        description="URL of the server: scheme, host, port.", examples=["http://127.0.0.1:9000"]
    )
    access_key: Annotated[str, FROM_FILE] = Field(min_length=1, description="Access key of the sidecar's own user.")
    secret_key: SecretStr = Field(min_length=1, description="Secret key of that user.")
    session_token: SecretStr | None = Field(default=None, description="Session token of temporary credentials.")
    region: str = Field(default="us-east-1", min_length=1, description="Region that requests are signed for.")
    path_style: bool | None = Field(
        default=None,
        description="Whether URLs have the bucket in their path (true) or in the host name (false). Default: in the "
        "path, except on amazonaws.com.",
    )
    ca: Path | None = Field(
        default=None,
        description="File with the CA certificates (PEM) to verify the server with. Default: those of the system.",
    )
    notify: tuple[str, ...] = Field(
        default=(),
        description="ARNs of the notification targets that `imgtag setup` adds to the buckets. "
        "Default: the NATS targets that MinIO reports to its administrators.",
        examples=[["arn:minio:sqs::FAST:nats", "arn:minio:sqs::SAFE:nats"]],
    )
    if_match: bool | None = Field(
        default=None,
        description="Whether PutObject with If-Match never overwrites a newer upload or deletion. Default: imgtag "
        "tests it with some hundred races in a temporary bucket, once for each endpoint and server version; "
        "the state folder keeps the result for 30 days.",
    )
    write_on: frozenset[ProtectedKind] = Field(
        default=frozenset(),
        description="Protected objects to write on all the same: `retention` and `legal_hold` (as another version "
        "under the same lock), `replica`. By default, imgtag only indexes them.",
    )
    probe_prefix: str = Field(
        default="imgtag-probe-",
        pattern=r"^[a-z0-9][a-z0-9-]{2,40}$",
        description="Prefix of the names of temporary buckets, in which imgtag tests how the server behaves.",
    )
    connect_timeout: float = Field(default=2.0, gt=0, description="Seconds to wait for a connection.")
    read_timeout: float = Field(default=8.0, gt=0, description="Seconds to wait for the next bytes of a response.")
    deadline: float = Field(
        default=20.0, gt=0, description="Seconds that a request may take in total; keep it below the stop timeout."
    )
    connections: int = Field(default=16, ge=1, le=256, description="Maximum number of concurrent requests.")

    @model_validator(mode="after")
    def _check_timeouts(self) -> Self:
        if MAX_TRIES * (self.connect_timeout + self.read_timeout) > self.deadline:
            raise ValueError(f"{MAX_TRIES} x (connect_timeout + read_timeout) must not exceed deadline")
        return self

    @property
    def secure(self) -> bool:
        """Whether the server speaks TLS."""
        return self.endpoint.startswith("https:")

    @property
    def host(self) -> str:
        """Host and port as they stand in URLs."""
        return urlsplit(self.endpoint).netloc

    @property
    def bucket_in_host(self) -> bool:
        """Whether URLs are in virtual-host style."""
        is_aws = (urlsplit(self.endpoint).hostname or "").endswith("amazonaws.com")
        return is_aws if self.path_style is None else not self.path_style
