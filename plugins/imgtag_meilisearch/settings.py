"""The table `[indexer.meilisearch]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from imgtag.plugin.spec import Settings

Url = Annotated[str, Field(pattern=r"^https?://[^\s/]"), AfterValidator(lambda url: url.rstrip("/"))]


class MeilisearchSettings(Settings):
    """Where the server is, and how much it is given at once."""

    url: Url = Field(
        default="http://127.0.0.1:7700",
        description="The address of the server; what answers with a redirection is not followed.",
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="A key for this index. `imgtag doctor` says which actions it needs; never give the master key.",
    )
    index: str = Field(
        default="images",
        pattern=r"^[A-Za-z0-9_-]{1,400}$",
        description="The index. It is made where it is missing. Several sites may share one.",
    )
    connect_timeout: float = Field(default=3, gt=0, le=60, description="Seconds until a connection must stand.")
    timeout: float = Field(
        default=8,
        gt=0,
        le=300,
        description="Seconds that the server may be silent within a request. Each request is tried twice at most; "
        "both tries together must be shorter than the time that a stop may take.",
    )
    task_deadline: float = Field(
        default=300,
        gt=0,
        description="Seconds until what was sent must be indexed. Later it counts as not done, and is sent again.",
    )
    settings_deadline: float = Field(
        default=3600,
        gt=0,
        description="Seconds until new settings must be in force; a filled index is worked through for them.",
    )
    batch_bytes: int = Field(
        default=8 * 2**20,
        ge=1,
        le=100 * 2**20,
        description="Bytes of documents in one request, before compression. The server takes 100 MB by default "
        "(--http-payload-size-limit); what it finds too large is halved.",
    )
    batch_documents: int = Field(default=5000, ge=1, description="Documents, or deletions, in one request.")
