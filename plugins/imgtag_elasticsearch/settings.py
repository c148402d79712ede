"""The table `[indexer.elasticsearch]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from imgtag.plugin import FROM_FILE, Settings


def parse_urls(text: str) -> list[str]:
    """The URLs of the nodes, which are separated by commas."""
    return [url.strip().rstrip("/") for url in text.split(",") if url.strip()]


def _check_urls(text: str) -> str:
    for url in parse_urls(text):
        parts = urlsplit(url)
        if "@" in parts.netloc:
            raise ValueError("use the settings user and password, or api_key: addresses are logged")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("write the address of a node as http://HOST:PORT or https://HOST:PORT")
    return text


Urls = Annotated[str, Field(min_length=1), AfterValidator(_check_urls)]


class ElasticsearchSettings(Settings):
    """Where the cluster is, the login there, and how much one request carries."""

    url: Urls = Field(
        default="http://127.0.0.1:9200",
        description="URL of a node; separate several nodes of a cluster by commas: where one does not answer, imgtag "
        "asks the next. Redirects are not followed.",
    )
    api_key: SecretStr | None = Field(
        default=None, description="An API key of Elasticsearch, in the encoded form that it is created with."
    )
    user: Annotated[str | None, FROM_FILE] = Field(default=None, description="User name, in place of an API key.")
    password: SecretStr | None = Field(default=None, description="Password of the user.")
    tls_ca: Path | None = Field(
        default=None,
        description="File with the CA certificates to verify the nodes with. Default: those of the system.",
    )
    index: str = Field(
        default="images",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,199}$",
        description="Name that documents are searched under: an alias of the index INDEX-imgtag-1, which imgtag "
        "creates if it is missing. Several sites may share one.",
    )
    shards: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Primary shards of an index that imgtag creates. Default: the server's.",
    )
    replicas: int | None = Field(
        default=None, ge=0, le=100, description="Copies of each shard of such an index. Default: the server's."
    )
    refresh: Literal["wait", "now"] = Field(
        default="wait",
        description="When a document counts as indexed: `wait` for the next periodic refresh of the index, within a "
        "second by default; `now` refreshes it after each request: images are found sooner, the cluster works more.",
    )
    timeout: float = Field(
        default=10,
        gt=0,
        le=300,
        description="Seconds that a request may take. Each request is tried twice at most; both tries together must "
        "take less than the time allowed for a stop.",
    )
    batch_bytes: int = Field(
        default=8 * 2**20,
        ge=1,
        le=100 * 2**20,
        description="Maximum bytes of documents in one request, before compression. A node accepts 100 MB by default "
        "(http.max_content_length); imgtag splits a request that the node finds too large.",
    )
    batch_documents: int = Field(
        default=2000, ge=1, description="Maximum number of documents or deletions in one request."
    )

    @model_validator(mode="after")
    def _has_one_login(self) -> Self:
        if self.api_key and self.user:
            raise ValueError("set api_key, or user and password, but not both")
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together: set both")
        if self.tls_ca and not all(url.startswith("https://") for url in parse_urls(self.url)):
            raise ValueError("tls_ca needs https:// in url")
        return self
