"""What `imgtag doctor` looks at: the server, the index with its settings, and what the key may do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial

from imgtag.errors import ImgtagError
from imgtag.plugin import Check
from imgtag_meilisearch.client import IndexClient
from imgtag_meilisearch.errors import IndexMissing, Refused
from imgtag_meilisearch.index_settings import differing

SETUP_HINT = "Run `imgtag setup`; or let the sidecar create it when it writes."


async def run_checks(client: IndexClient) -> AsyncIterator[Check]:
    """Yield a finding for each."""
    # One request for each action, which changes nothing.
    actions: dict[str, Callable[[], object]] = {
        "documents.add": client.check_add,
        "documents.get": lambda: client.fetch(limit=0),
        "search": lambda: client.facets("", ()),
        "tasks.get": lambda: client.tasks(limit=1),
    }
    checks: dict[str, Callable[[], str]] = {
        "index": partial(_check_server, client),
        "index settings": partial(_check_settings, client),
        **{f"index key {action}": partial(_check_action, ask, action) for action, ask in actions.items()},
    }
    for name, check in checks.items():
        try:
            yield Check(check=name, ok=True, message=await client.run(check))
        except ImgtagError as error:
            yield Check(check=name, ok=False, message=error.message, hint=error.hint or SETUP_HINT)


def _check_server(client: IndexClient) -> str:
    client.check_health()
    return f"Meilisearch at {client.url} answers"


def _check_settings(client: IndexClient) -> str:
    names = differing(client.settings())
    if names:
        raise Refused(f"settings of {client.name} differ: {', '.join(names)}", hint=SETUP_HINT)
    return f"the index {client.name} exists, with its settings"


def _check_action(ask: Callable[[], object], action: str) -> str:
    with suppress(Refused, IndexMissing):  # the key was accepted, which is all that is asked
        ask()
    return f"the key has {action}"
