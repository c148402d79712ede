"""The least that the server must let us do, as its configuration reads it."""

from __future__ import annotations

from imgtag_nats.names import Names
from imgtag_nats.settings import NatsSettings

TEXT = """\
# Permissions of the sidecar's user; user and password, nkey or account are yours to say.
# https://docs.nats.io/running-a-nats-service/configuration/securing_nats/authorization
{more}permissions: {{
  publish: {{
    allow: [
{publish}
    ]
  }}
  subscribe: {{
    allow: [
{subscribe}
    ]
  }}
}}
"""
REMOVAL = "# `imgtag setup --remove` needs {api}.STREAM.DELETE, .STREAM.PURGE and .CONSUMER.DELETE of these besides.\n"


def permissions(settings: NatsSettings, names: Names, stream: str, api: str) -> str:
    """``stream`` is the work stream, ``api`` the prefix of JetStream's subjects."""
    publish, subscribe = subjects(settings, names, stream, api)
    more = REMOVAL.format(api=api) if settings.jetstream else ""
    return TEXT.format(more=more, publish=_lines(publish), subscribe=_lines(subscribe))


def subjects(settings: NatsSettings, names: Names, stream: str, api: str) -> tuple[list[str], list[str]]:
    """What may be published to and subscribed to, as `permissions` has them."""
    return _jetstream(names, stream, api) if settings.jetstream else _core(names)


def _jetstream(names: Names, stream: str, api: str) -> tuple[list[str], list[str]]:
    verbs = [f"STREAM.{verb}.{name}" for name in (stream, names.dead_stream) for verb in ("INFO", "CREATE", "UPDATE")]
    for durable in names.durables:
        verbs += [f"CONSUMER.{verb}.{stream}.{durable}" for verb in ("INFO", "DURABLE.CREATE", "MSG.NEXT")]
    verbs += [f"STREAM.MSG.{verb}.{names.dead_stream}" for verb in ("GET", "DELETE")]
    # In a domain the subjects of answers have the domain and the account before the stream.
    acks = [f"$JS.ACK.{stream}.{durable}.>" for durable in names.durables]
    acks += [f"$JS.ACK.*.*.{stream}.{durable}.>" for durable in names.durables]
    ours = [names.hints, names.parked, names.dead_subjects]
    return [f"{api}.{verb}" for verb in ("INFO", "STREAM.NAMES", *verbs)] + acks + ours, [f"{names.inbox}.>"]


def _core(names: Names) -> tuple[list[str], list[str]]:
    # Whoever asks for something on the command line is answered in its inbox.
    return [names.hints, f"{names.inbox}.>"], [names.subject, names.hints, f"{names.inbox}.>"]


def _lines(subjects: list[str]) -> str:
    return "\n".join(f'      "{subject}"' for subject in subjects)
