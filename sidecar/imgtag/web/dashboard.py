"""The state of a site at a glance: what the index counts, and what the sidecar knows of itself."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.ops.status import count_by_label
from imgtag.plugin.indexer import Indexer, SearchRequest
from imgtag.query import And, Compare, Is, Not, Order, Query, StartsWith, parse
from imgtag.search import most_frequent
from imgtag.types.folding import normalise
from imgtag.web.answers import Condition, DashboardAnswer, Day, ModelName, Share, Totals
from imgtag.web.visible import Visible
from imgtag.workers.generations import LoadedModel

STEPS = 10
"""Of the confidence, from 0 to 1."""
MAX_DAYS = 1000
"""Days with objects that are shown as days; more of them as months."""
MAX_VALUES = 100
"""Labels and categories."""
RATE_SECONDS = 60.0
_EVERYTHING = Is("status", ("labelled", "unlabelled", "refused", "failed"))
_LABELLED = Is("status", ("labelled",))


@dataclass(kw_only=True)
class Dashboard:
    """Counts what is visible within a query."""

    indexer: Indexer
    visible: Visible
    health: Health
    metrics: Metrics
    models: Callable[[], Mapping[str, LoadedModel]]
    clock: Callable[[], float] = time.monotonic
    _samples: deque[tuple[float, float]] = field(default_factory=deque, init=False)

    async def summary(self, text: str) -> DashboardAnswer:
        """Everything, by some twenty searches without hits. Raises QueryError, Unavailable."""
        query = self.visible.limit(parse(text))
        everything = query if "status:" in text.lower() else self.visible.limit(_with_every_status(text))
        page = await self.indexer.search(
            SearchRequest(query=everything, limit=0, facets=("status", "code", "when_day", "when_month"))
        )
        shown = await self.indexer.search(SearchRequest(query=query, limit=0, facets=("labels", "category")))
        statuses = page.facets.get("status", {})
        failed = everything.within(Is("status", ("refused", "failed")))
        failures = await self.indexer.search(SearchRequest(query=failed, limit=0, facets=("code",)))
        not_written = await self._count(everything.within(And((_LABELLED, StartsWith("code", "")))))
        days = page.facets.get("when_day", {})
        over_time = days if len(days) <= MAX_DAYS else page.facets.get("when_month", {})
        models = {model.info.id for model in self.models().values()}
        stale = everything.within(And((_LABELLED, Not(Is("model", tuple(map(normalise, sorted(models))))))))
        default = self.models()[""].info
        ready = self.health.ready().parts
        hides = bool(self.visible.buckets)
        return DashboardAnswer(
            totals=Totals(
                **{name: statuses.get(name, 0) for name in ("labelled", "unlabelled", "refused", "failed")},
                not_written=not_written,
            ),
            over_time=tuple(Day(day=day, count=count) for day, count in sorted(over_time.items())),
            labels=most_frequent(shown.facets.get("labels", {}), MAX_VALUES),
            categories=most_frequent(shown.facets.get("category", {}), MAX_VALUES),
            confidence=tuple([await self._share(query, step) for step in range(STEPS)]),
            failures=most_frequent(failures.facets.get("code", {}), MAX_VALUES),
            # These count the work on all buckets.
            backlog=None if hides else int(self.metrics.backlog._value.get()),  # noqa: SLF001
            throughput=None if hides else self._measure_throughput(),
            store=_condition(ready.get("store", ""), hides=hides),
            index=_condition(ready.get("indexer", ""), hides=hides),
            model=ModelName(name=default.name, digest=default.digest),
            stale=await self._count(stale),
        )

    async def _share(self, query: Query, step: int) -> Share:
        start, end = step / STEPS, (step + 1) / STEPS
        order: Order = "<=" if step == STEPS - 1 else "<"
        within = And((Compare("top_confidence", ">=", start), Compare("top_confidence", order, end)))
        return Share(start=start, to=end, count=await self._count(query.within(within)))

    async def _count(self, query: Query) -> int:
        return (await self.indexer.search(SearchRequest(query=query, limit=0))).total

    def _measure_throughput(self) -> float | None:
        """Objects a second since the oldest look of the last minute; None at the first look."""
        now, done = self.clock(), sum(count_by_label(self.metrics.objects, "result").values())
        while self._samples and now - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()
        self._samples.append((now, done))
        since, before = self._samples[0]
        return round((done - before) / (now - since), 3) if now > since else None


def _with_every_status(text: str) -> Query:
    return parse(f"({text}) status:*" if text.strip() else "status:*")


def _condition(reason: str, *, hides: bool) -> Condition:
    """A reason may name what is hidden."""
    return Condition(ok=not reason, **({"reason": reason} if reason and not hides else {}))
