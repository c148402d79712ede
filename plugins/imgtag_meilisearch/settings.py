"""The table `[indexer.meilisearch]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from imgtag.plugin.spec import Settings

Url = Annotated[str, Field(pattern=r"^https?://[^\s/]"), AfterValidator(lambda url: url.rstrip("/"))]


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
        description="The index. It is created where it is missing. Several sites may share one.",
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
        description="Seconds until documents must be indexed. After that they count as not indexed and are sent again.",
    )
    settings_deadline: float = Field(
        default=3600,
        gt=0,
        description="Seconds until new settings must be in force; the server reindexes a filled index for them.",
    )
    batch_bytes: int = Field(
        default=8 * 2**20,
        ge=1,
        le=100 * 2**20,
        description="Bytes of documents in one request, before compression. The server accepts 100 MB by default "
        "(--http-payload-size-limit); a request that it finds too large is split in halves.",
    )
    batch_documents: int = Field(default=5000, ge=1, description="Documents, or deletions, in one request.")
