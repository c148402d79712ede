"""The least permissions that the sidecar needs, in the form that the server's configuration reads."""

from __future__ import annotations

from imgtag_nats.names import Names
from imgtag_nats.settings import NatsSettings

TEXT = """\
# Permissions of the sidecar's user; add its user name and password, nkey or account.
# https://docs.nats.io/running-a-nats-service/configuration/securing_nats/authorization
{removal}permissions: {{
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
REMOVAL = "# `imgtag setup --remove` also needs {api}.STREAM.DELETE, .STREAM.PURGE and .CONSUMER.DELETE for these.\n"


def permissions(settings: NatsSettings, names: Names, stream: str, api: str, *, records: bool = False) -> str:
    """``stream`` is the work stream, ``api`` the prefix of JetStream's subjects; ``records``: scheduled work is on."""
    publish, subscribe = subjects(settings, names, stream, api, records=records)
    removal = REMOVAL.format(api=api) if settings.jetstream else ""
    return TEXT.format(removal=removal, publish=_lines(publish), subscribe=_lines(subscribe))


def subjects(
    settings: NatsSettings, names: Names, stream: str, api: str, *, records: bool = False
) -> tuple[list[str], list[str]]:
    """What the sidecar publishes to and subscribes to, the arguments as for `permissions`."""
    if not settings.jetstream:
        # Replies to what somebody asks for on the command line go to the inbox.
        return [names.hints, f"{names.inbox}.>"], [names.subject, names.hints, f"{names.inbox}.>"]
    streams = (stream, names.dead_stream, names.backfill_stream, names.progress_stream)
    verbs = [f"STREAM.{verb}.{name}" for name in streams for verb in ("INFO", "CREATE", "UPDATE")]
    for durable in names.durables:
        verbs += [f"CONSUMER.{verb}.{stream}.{durable}" for verb in ("INFO", "DURABLE.CREATE", "MSG.NEXT")]
    verbs += [f"STREAM.MSG.{verb}.{names.dead_stream}" for verb in ("GET", "DELETE")]
    # Each distributed backfill has a consumer of its own. Only these two streams are purged.
    verbs += [f"CONSUMER.{verb}.{names.backfill_stream}.*" for verb in ("DURABLE.CREATE", "MSG.NEXT", "DELETE")]
    verbs += [f"STREAM.PURGE.{name}" for name in (names.backfill_stream, names.progress_stream)]
    verbs += [f"STREAM.MSG.GET.{names.progress_stream}"]
    # In a domain, the subjects of acknowledgements have the domain and the account before the stream.
    acks = [f"$JS.ACK.{stream}.{durable}.>" for durable in names.durables]
    acks += [f"$JS.ACK.*.*.{stream}.{durable}.>" for durable in names.durables]
    acks += [f"$JS.ACK.{names.backfill_stream}.>", f"$JS.ACK.*.*.{names.backfill_stream}.>"]
    ours = names.subjects
    if records:
        verbs += [f"STREAM.{verb}.{names.record_stream}" for verb in ("INFO", "CREATE", "MSG.GET")]
        ours = [*ours, names.record_subjects]
    return [f"{api}.{verb}" for verb in ("INFO", "STREAM.NAMES", *verbs)] + acks + ours, [f"{names.inbox}.>"]


def _lines(subjects: list[str]) -> str:
    return "\n".join(f'      "{subject}"' for subject in subjects)
