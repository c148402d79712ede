"""Which objects clients may know of."""

from __future__ import annotations

from dataclasses import dataclass

from imgtag.query import And, Condition, Is, Query
from imgtag.types.document import Document
from imgtag.types.folding import normalise


@dataclass(frozen=True, kw_only=True)
class Visible:
    """Those in some buckets of a site; without buckets, all that the index has."""

    site: str
    buckets: tuple[str, ...] = ()

    @property
    def condition(self) -> Condition | None:
        """What a visible document meets; None where all are visible."""
        if not self.buckets:
            return None
        return And((Is("site", (normalise(self.site),)), Is("bucket", tuple(map(normalise, self.buckets)))))

    def limit(self, query: Query) -> Query:
        """The query, limited to what is visible."""
        return query if self.condition is None else query.within(self.condition)

    def shows(self, document: Document) -> bool:
        """Whether a document is visible. Names are compared exactly, where a condition ignores their case."""
        return not self.buckets or (document.get("site") == self.site and document.get("bucket") in self.buckets)
