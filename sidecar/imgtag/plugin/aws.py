"""What plugins for services of AWS, and for others with their API, have in common: credentials, and a client.

The library of the client is in the extra `aws`; importing this module does not need it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import urlsplit

from anyio import to_thread
from pydantic import AfterValidator, Field, SecretStr, model_validator

from imgtag.errors import ConfigError, PluginError, Unavailable
from imgtag.plugin.spec import FROM_FILE, Settings

if TYPE_CHECKING:
    from botocore.loaders import Loader

CONNECT_TIMEOUT = 3.0
"""Seconds to wait for a connection."""
PACKAGES = ("aiobotocore", "botocore")
"""What the extra installs. Its loggers write whole requests at the level `debug`, session tokens included."""


def check_endpoint(example: str) -> AfterValidator:
    """A validator of an endpoint's URL, which ends without a slash; its message has the example."""

    def check(text: str) -> str:
        url = urlsplit(text)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError(f"write it as a URL: {example}")
        if url.query or url.fragment or url.username:
            raise ValueError("the endpoint is scheme, host, port and path only")
        return text.rstrip("/")

    return AfterValidator(check)


class AwsSettings(Settings):
    """Where a service is, credentials for it, and the authority that its certificate is from.

    A plugin describes its own ``region`` and ``endpoint``.
    """

    region: str = Field(default="us-east-1", min_length=1, description="Region of the service.")
    endpoint: str | None = Field(default=None, description="URL of another endpoint than the public one of the region.")
    access_key: Annotated[str | None, FROM_FILE] = Field(
        default=None,
        min_length=1,
        description="Access key of the sidecar's own user. Default: what AWS' own tools would use, from the "
        "environment (AWS_ACCESS_KEY_ID, a web identity) or the role of the machine, the task or the pod.",
    )
    secret_key: SecretStr | None = Field(default=None, min_length=1, description="Secret key of that user.")
    session_token: SecretStr | None = Field(default=None, description="Session token of temporary credentials.")
    ca: Path | None = Field(
        default=None,
        description="File with the CA certificates (PEM) to verify the service with. Default: those of AWS' client.",
    )

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if bool(self.access_key) != bool(self.secret_key):
            raise ValueError("access_key and secret_key belong together")
        if self.session_token and not self.access_key:
            raise ValueError("session_token needs access_key and secret_key")
        return self


def require_extra() -> None:
    """Raises PluginError where the library is not installed, with the command that installs it."""
    try:
        import_module("aiobotocore.config")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PACKAGES:
            raise
        raise PluginError("aiobotocore is not installed", hint="pip install 'imgtag-sidecar[aws]'") from error


def explain_credentials(section: str) -> str:
    """The hint for somebody whose credentials are missing; ``section`` is that of the plugin, as in TOML."""
    return f"Set access_key and secret_key under [{section}], or give this machine or pod a role."


async def open_client(
    stack: AsyncExitStack,
    service: str,
    settings: AwsSettings,
    *,
    section: str,
    where: str,
    load_models: Callable[[], Loader],
    **limits: Any,
) -> Any:
    """A client of a service, closed by the stack. It connects to nothing.

    ``section`` and ``where`` name the plugin's settings and the service in errors. ``load_models`` blocks: it reads the
    files of botocore, which would otherwise be read on the event loop. ``limits`` are those of botocore's Config.
    Raises ConfigError, Unavailable.
    """
    from aiobotocore.config import AioConfig  # noqa: PLC0415  (only the extra `aws` has it)
    from aiobotocore.session import get_session  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415

    for name in PACKAGES:
        logging.getLogger(name).setLevel(logging.INFO)
    if settings.ca is not None and not await to_thread.run_sync(settings.ca.is_file):
        hint = "Name a PEM file with the certificates of the authority, readable by the user that the sidecar runs as."
        raise ConfigError(f"[{section}] ca: {settings.ca} is not a file", hint=hint)
    session = get_session()
    try:
        session.register_component("data_loader", await to_thread.run_sync(load_models))
        # The user's configuration of AWS, which the session keeps.
        await to_thread.run_sync(lambda: session.full_config)
        return await stack.enter_async_context(
            session.create_client(
                service,
                region_name=settings.region,
                endpoint_url=settings.endpoint,
                verify=str(settings.ca) if settings.ca else None,
                aws_access_key_id=settings.access_key,
                aws_secret_access_key=_reveal(settings.secret_key),
                aws_session_token=_reveal(settings.session_token),
                config=AioConfig(connect_timeout=CONNECT_TIMEOUT, **limits),
            )
        )
    except (BotoCoreError, ValueError, OSError) as error:
        raise Unavailable(f"no client for {where}: {error}", hint=explain_credentials(section)) from error


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value().strip() if secret is not None else None
