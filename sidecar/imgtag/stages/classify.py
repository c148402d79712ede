"""Bytes -> what the model says, and the entries made of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from imgtag.plugin.classifier import ModelInfo
from imgtag.types.labels import LabelPolicy
from imgtag.types.mark import Mark, owner_digest
from imgtag.types.metadata import Entries
from imgtag.types.ref import ObjectState
from imgtag.workers.pool import Inference


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who writes entries: site, and what of a picture may be said."""

    site: str
    gps: bool = True
    exif: bool = True

    def entries(self, state: ObjectState, inference: Inference, model: ModelInfo, policy: LabelPolicy) -> Entries:
        """Labels, mark, facts and raw of one picture, before what has no room is dropped."""
        facts = replace(inference.facts, modified=int(state.modified)).without(gps=self.gps, exif=self.exif)
        mark = Mark(
            model=model.id,
            rules=policy.digest,
            content=inference.content,
            etag=state.etag,
            etag_after=state.etag,
            owner=owner_digest(self.site, state.ref),
            version=state.version,
            at=int(time.time()),
        )
        return Entries(labels=policy.select(inference.raw, model.labels), mark=mark, facts=facts, raw=inference.raw)
