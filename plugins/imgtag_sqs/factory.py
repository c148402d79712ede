"""Makes the source, where the extra that it needs is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgtag.plugin import PluginContext
from imgtag.plugin.aws import require_extra
from imgtag_sqs.settings import SqsSettings

if TYPE_CHECKING:
    from imgtag_sqs.source import SqsSource


def make_source(settings: SqsSettings, context: PluginContext) -> SqsSource:
    """The source. Raises ConfigError, PluginError."""
    require_extra()
    from imgtag_sqs.source import SqsSource  # noqa: PLC0415  (which needs the extra)

    return SqsSource(settings, context)
