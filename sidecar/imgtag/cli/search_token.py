"""``imgtag search-token``: let somebody search some buckets in the index itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import click

from imgtag.assembly import make_indexer
from imgtag.cli.main import App, pass_app
from imgtag.cli.terminal import escape
from imgtag.config.schema import parse_period
from imgtag.errors import ConfigError
from imgtag.plugin.indexer import TokenSigner
from imgtag.query import And, Is
from imgtag.types.folding import normalise

MAX_SECONDS = 366 * 86_400
"""A token that is good for longer is a key that nobody can count."""


class Period(click.ParamType[int]):
    """A number with a unit, as seconds."""

    name = "period"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds."""
        try:
            seconds = int(parse_period(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not 0 < seconds <= MAX_SECONDS:
            self.fail(f"{value} is not within a second and a year", param, ctx)
        return seconds


@click.command(name="search-token")
@click.option(
    "--key-file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The search key that signs the token: the answer of Meilisearch to `POST /keys`.",
)
@click.option(
    "--bucket", "buckets", metavar="NAME", multiple=True, required=True, help="What may be found. Can be given twice."
)
@click.option(
    "--site", "sites", metavar="NAME", multiple=True, help="Of which sites. Default: this one. Can be given twice."
)
@click.option(
    "--expires", type=Period(), default="1d", show_default=True, help="How long it is good: 30m, 12h, 7d or 4w."
)
@pass_app
def command(app: App, *, key_file: Path, buckets: tuple[str, ...], sites: tuple[str, ...], expires: int) -> None:
    """Print a token for searches in Meilisearch itself that find objects of some buckets only.

    The server need not be running, and does not store the token. To end a token early, delete the key that signed it.
    """
    config = app.load()
    indexer = make_indexer(config, read_only=True)
    if not hasattr(indexer, "sign_search_token"):
        hint = "Its plugin has to offer `imgtag.plugin.TokenSigner`, as that of Meilisearch does."
        raise ConfigError(f"the indexer {config.require('indexer').name} has no search tokens", hint=hint)
    sites = sites or (config.site.name,)
    condition = And((Is("site", tuple(map(normalise, sites))), Is("bucket", tuple(map(normalise, buckets)))))
    until = int(time.time()) + expires
    try:
        key = key_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key_file} cannot be read: {error}") from error
    try:
        token = cast("TokenSigner", indexer).sign_search_token(key, condition, until)
    except ConfigError as error:
        raise ConfigError(f"{key_file}: {error.message}", hint=error.hint) from None
    moment = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M UTC")
    click.echo(f"finds {escape(', '.join(buckets))} of {escape(', '.join(sites))} until {moment}", err=True)
    click.echo(token)
