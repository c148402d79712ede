"""The table `[indexer.meilisearch]`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from imgtag.plugin.spec import Settings


def _parse_url(text: str) -> str:
    if "@" in urlsplit(text).netloc:
        raise ValueError("use the setting api_key instead of a user and password: addresses are logged")
    return text.rstrip("/")


Url = Annotated[str, Field(pattern=r"^https?://[^\s/]"), AfterValidator(_parse_url)]


class MeilisearchSettings(Settings):
    """Where the server is, and how much one request carries."""

    url: Url = Field(
        default="http://127.0.0.1:7700",
        description="URL of the server. Redirects are not followed.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="A key for this index. `imgtag doctor` lists the actions it needs; never use the master key.",
    )
    index: str = Field(
        default="images",
        pattern=r"^[A-Za-z0-9_-]{1,400}$",
        description="Name of the index, which imgtag creates if it is missing. Several sites may share one.",
    )
    connect_timeout: float = Field(default=3, gt=0, le=60, description="Seconds to wait for a connection.")
    timeout: float = Field(
        default=8,
        gt=0,
        le=300,
        description="Seconds that the server may be silent during a request. Each request is tried twice at most; "
        "both tries together must take less than the time allowed for a stop.",
    )
    task_deadline: float = Field(
        default=300,
        gt=0,
        description="Seconds that Meilisearch may take to index documents; after that, imgtag sends them again.",
    )
    settings_deadline: float = Field(
        default=3600,
        gt=0,
        description="Seconds that Meilisearch may take to apply new settings, for which it reindexes all documents.",
    )
    batch_bytes: int = Field(
        default=8 * 2**20,
        ge=1,
        le=100 * 2**20,
        description="Maximum bytes of documents in one request, before compression. The server accepts 100 MB "
        "by default (--http-payload-size-limit); imgtag splits a request that the server finds too large.",
    )
    batch_documents: int = Field(
        default=5000, ge=1, description="Maximum number of documents or deletions in one request."
    )
