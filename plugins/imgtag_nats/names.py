"""What things are called on the server, how subjects match, and where stores publish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from imgtag.errors import ConfigError
from imgtag.plugin import NotificationTarget
from imgtag_nats.settings import NatsSettings, parse_urls

DEFAULT_PORT = 4222
CREDENTIALS = ("user", "token", "nkey_seed", "creds", "tls_ca", "tls_cert", "tls_first")
"""Settings without which the server does not admit us."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """Subjects, streams and durables of one site.

    ``subject`` is the store's, the others are ours: ``hints`` is what somebody asked for (replayed dead letters, a
    resync), ``parked`` waits for the index, ``dead`` was given up, ``records`` is what the sidecars share, ``backfill``
    is what distributed backfills work off, ``progress`` how far they are. ``fixed``: the settings name the stream;
    otherwise an existing stream that has the subject is used.
    """

    site: str
    subject: str
    stream: str
    fixed: bool
    durable: str

    @classmethod
    def of(cls, settings: NatsSettings, site: str) -> Self:
        """Names from the settings, by default from the site. Raises ConfigError."""
        site = site.replace(".", "=")  # a dot would begin another token; site names never contain `=`
        names = cls(
            site=site,
            subject=settings.subject or f"imgtag.{site}.events",
            stream=settings.stream or f"imgtag-{site}",
            fixed=settings.stream is not None,
            durable=settings.durable or f"imgtag-{site}",
        )
        for ours in (*names.subjects, names.record_subjects):
            if covers(names.subject, ours):
                message = f"[source.nats] subject {names.subject} includes {ours}, which the sidecar uses itself"
                raise ConfigError(message, hint="Choose a narrower subject.")
        return names

    @property
    def hints(self) -> str:
        return f"imgtag.{self.site}.hints"

    @property
    def parked(self) -> str:
        return f"imgtag.{self.site}.parked"

    @property
    def dead(self) -> str:
        """What the subjects of dead letters begin with; the last token identifies the key."""
        return f"imgtag.{self.site}.dead"

    @property
    def dead_subjects(self) -> str:
        return f"{self.dead}.*"

    @property
    def dead_stream(self) -> str:
        return f"imgtag-{self.site}-dead"

    @property
    def records(self) -> str:
        """What the subjects of records begin with; the last token is the name of one."""
        return f"imgtag.{self.site}.records"

    @property
    def record_subjects(self) -> str:
        return f"{self.records}.*"

    @property
    def record_stream(self) -> str:
        return f"imgtag-{self.site}-records"

    @property
    def backfill(self) -> str:
        """What the subjects of backfills begin with; the last token is the id of the backfill."""
        return f"imgtag.{self.site}.backfill"

    @property
    def progress(self) -> str:
        """What the subjects of records begin with; the id of the backfill and who writes the record follow."""
        return f"imgtag.{self.site}.progress"

    @property
    def backfill_stream(self) -> str:
        return f"imgtag-{self.site}-backfill"

    @property
    def progress_stream(self) -> str:
        return f"imgtag-{self.site}-progress"

    @property
    def subjects(self) -> list[str]:
        """All subjects that are ours, not the store's."""
        return [self.hints, self.parked, self.dead_subjects, f"{self.backfill}.*", f"{self.progress}.*.*"]

    def backfill_durable(self, id_: str) -> str:
        """The consumer of one backfill."""
        return f"{self.durable}-backfill-{id_}"

    @property
    def durables(self) -> dict[str, str]:
        """Each durable with the subject that it filters."""
        return {
            self.durable: self.subject,
            f"{self.durable}-hints": self.hints,
            f"{self.durable}-parked": self.parked,
        }

    @property
    def inbox(self) -> str:
        """Prefix of our inboxes: one of our own, so that the server can keep others from listening there."""
        return f"_INBOX_imgtag-{self.site}"


def covers(pattern: str, subject: str) -> bool:
    """Whether ``pattern`` matches everything that ``subject`` matches."""
    left, right = pattern.split("."), subject.split(".")
    for position, word in enumerate(left):
        if word == ">":
            return len(right) > position
        if position >= len(right) or right[position] == ">" or word not in {"*", right[position]}:
            return False
    return len(left) == len(right)


def notification_target(settings: NatsSettings, names: Names) -> NotificationTarget:
    """Where a store publishes its notifications: the first server, and a subject without wildcards that ours covers."""
    url = urlsplit(parse_urls(settings.url)[0])
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return NotificationTarget(
        kind="nats",
        address=f"{host}:{url.port or DEFAULT_PORT}",
        subject=".".join("store" if token in {"*", ">"} else token for token in names.subject.split(".")),
        jetstream=settings.jetstream,
        tls=settings.tls,
        needs=tuple(name for name in CREDENTIALS if getattr(settings, name)),
    )
