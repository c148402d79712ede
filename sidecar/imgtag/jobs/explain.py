"""Why an object is labelled as it is, or is not labelled. Nothing is written anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from anyio import to_thread

from imgtag.assembly import make_indexer, make_pool, make_source, make_store
from imgtag.config.configuration import Config
from imgtag.config.policy import ObjectPolicy, PolicyResolver
from imgtag.engine import make_reconciler
from imgtag.errors import ImgtagError, Unavailable, Undecodable, Unreadable, WriteRefused
from imgtag.jobs.store_codes import STORE_CODES
from imgtag.models.resolver import ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.store import Body, Store
from imgtag.reconcile import Judgement, Reconciler
from imgtag.stages.fetch import fetch
from imgtag.stages.inspect import Inspected
from imgtag.types.document import Document, document_id
from imgtag.types.image_formats import is_image
from imgtag.types.labels import Label
from imgtag.types.mark import Mark, encode_digest, owner_digest
from imgtag.types.ref import ObjectRef
from imgtag.types.signature import Trust
from imgtag.workers.generations import ModelGenerations
from imgtag.workers.pool import WorkerPool
from imgtag.workers.remote import RemotePool


@dataclass(frozen=True, kw_only=True)
class MarkReport:
    """What the mark of an object says, and how far it can be believed."""

    mark: Mark
    digest: str | None
    """SHA-256 of the model file, where the model is installed."""
    is_genuine: bool | None
    """None where the site has no key to tell by."""
    key: int | None
    """The position, from 1, of the mark key that verifies it."""
    is_copied: bool
    """Whether it was made for another object, from which this one was copied."""
    holds: bool | None
    """Whether it was made from the content that is there; None where only the bytes can tell."""
    stale: tuple[str, ...]
    """What of it differs from what would be written now: ``model``, ``rules``, ``signature``."""


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """Whether the index has a document of the object (None: it does not answer), and the fields that differ."""

    document: bool | None
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """``status`` is labelled, unlabelled, failed, refused, skipped, absent or waiting."""

    ref: ObjectRef
    status: str
    because: str
    rule: str | None
    """The rule that decides, as findings name it; None without rules, or where none names the bucket."""
    mark: MarkReport | None = None
    labels: tuple[Label, ...] = ()
    index: IndexReport
    verified: bool | None = None
    """Whether the present model finds the same in the same bytes; None where that was not tried."""
    differs: tuple[str, ...] = ()
    """What it finds instead."""


@asynccontextmanager
async def open_explainer(config: Config, refs: Sequence[ObjectRef]) -> AsyncIterator[Explainer]:
    """An explainer for these objects; it loads the models that their rules name, and no other one.

    Raises Unavailable, ModelError, PluginError, InvalidConfig.
    """
    resolve = await to_thread.run_sync(PolicyResolver, config)
    names = dict.fromkeys(policy.model for ref in refs if (policy := resolve(ref)))
    models = ModelResolver(config)

    def make(specs: Sequence[ModelSpec], known: Sequence[ModelSpec]) -> WorkerPool | RemotePool:
        return make_pool(config, 1, specs, known)

    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(make_store(config, read_only=True))
        indexer = make_indexer(config, read_only=True)
        outage = None
        try:
            await stack.enter_async_context(indexer)
        except Unavailable as error:
            outage = error
        generations = await stack.enter_async_context(ModelGenerations(make))
        if names:
            specs = {name: await to_thread.run_sync(models.resolve, name) for name in names}
            await generations.replace(specs, await to_thread.run_sync(models.resolve_installed))
        yield Explainer(config, resolve, store, indexer, generations, outage)


class Explainer:
    """Explains objects as a running sidecar with this configuration judges them.

    ``outage``: why the index cannot be asked.
    """

    def __init__(
        self,
        config: Config,
        policy_of: PolicyResolver,
        store: Store,
        indexer: Indexer,
        generations: ModelGenerations,
        outage: Unavailable | None = None,
    ) -> None:
        self._config = config
        self._policy_of = policy_of
        self._store = store
        self._outage = outage
        self._reconciler = make_reconciler(
            config, policy_of, store, indexer, generations, metrics=Metrics(), health=Health()
        )

    async def explain(self, ref: ObjectRef, *, verify: bool = False) -> Explanation:
        """Explain one object; with ``verify``, classify its bytes again. Raises Unavailable, Conflict."""
        policy = self._policy_of(ref)
        if policy is None:
            return await self._explain_passed_over(ref)
        rule = None if policy.rule is None else f"rules[{policy.rule}]"
        try:
            async with self._store.open(ref) as body:
                indexed, outage = await self._read_document(ref)
                if body is None:
                    return _explain_absent(ref, rule, indexed, outage)
                case = _Case(
                    reconciler=self._reconciler,
                    policy=policy,
                    rule=rule,
                    body=body,
                    indexed=indexed,
                    outage=outage,
                )
                explanation = await case.explain()
                if explanation.status == "waiting" and (letter := await self._read_letter(ref)):
                    because = f"imgtag gave it up: {letter} (`imgtag dlq list`)"
                    explanation = replace(explanation, because=because)
                return await case.verify(explanation) if verify else explanation
        except Unreadable as error:
            index = IndexReport(document=None)
            return Explanation(
                ref=ref, status="refused", index=index, because=STORE_CODES.get(error.code, error.message), rule=rule
            )

    async def _explain_passed_over(self, ref: ObjectRef) -> Explanation:
        """No rule admits it; what is there of it all the same is mentioned where it can be seen."""
        passed = list(self._policy_of.passed_over(ref))
        excluded = next(((index, glob) for index, glob in passed if glob is not None), None)
        rule = f"rules[{(excluded or passed[0])[0]}]" if passed else None
        if excluded:
            because = f"{rule} excludes it: its key matches {excluded[1]!r}"
        elif passed:
            because = f"no rule for the bucket {ref.bucket} includes its key"
        else:
            because = f"no rule names the bucket {ref.bucket}"
        indexed, outage = await self._read_document(ref)
        labels: tuple[Label, ...] = ()
        with suppress(ImgtagError):  # we may have no rights where no rule sends us
            state = await self._store.stat(ref)
            if state is None:
                return _explain_absent(ref, rule, indexed, outage)
            entries, _ = self._policy_of.general.codec.split(state.metadata)
            if entries.mark:
                labels = entries.labels
                because += "; labels from an earlier time are still on it, which `imgtag strip` removes"
        if indexed is not None:
            because += "; the index still has a document of it"
        index = IndexReport(document=None if outage else indexed is not None)
        return Explanation(ref=ref, status="skipped", because=because, rule=rule, labels=labels, index=index)

    async def _read_document(self, ref: ObjectRef) -> tuple[Document | None, Unavailable | None]:
        """The document, or why the index does not say whether there is one."""
        if self._outage:
            return None, self._outage
        try:
            return await self._reconciler.index.read(document_id(self._config.site.name, ref)), None
        except Unavailable as error:
            return None, error

    async def _read_letter(self, ref: ObjectRef) -> str | None:
        """Why work on the object was given up, where the source has a dead letter of it."""
        with suppress(ImgtagError):
            async with make_source(self._config, read_only=True) as source:
                async for letter in source.dead.list():
                    if letter.ref == ref:
                        return letter.reason
        return None


@dataclass(frozen=True, kw_only=True)
class _Case:
    """One object that is there and that a rule admits. ``outage``: why the index cannot be asked."""

    reconciler: Reconciler
    policy: ObjectPolicy
    rule: str | None
    body: Body
    indexed: Document | None
    outage: Unavailable | None

    async def explain(self) -> Explanation:
        """Raises Unavailable where only the index could tell, and it does not answer."""
        state, document = self.body.state, self.indexed
        judgement = self.reconciler.judge(state, self.policy, document)
        if judgement.inspected.image is False:
            return self._report("skipped", "neither its content type nor its name is that of an image")
        if judgement.inspected.entries.mark:
            return self._explain_mark(judgement, judgement.inspected.entries.mark)
        if self.outage:
            raise self.outage
        if document is not None and document["etag"] == state.etag:
            return self._explain_document(document)
        return self._report(*await self._explain_unseen(judgement.inspected))

    async def _explain_unseen(self, inspected: Inspected) -> tuple[str, str]:
        """Status and reason of content that no sidecar has looked at."""
        state, max_bytes = self.body.state, self.policy.max_bytes
        too_large = f"its {state.size:,} bytes are over the limit of {max_bytes:,}"
        if state.unreadable:
            return "refused", STORE_CODES.get(state.unreadable, state.unreadable)
        if state.size > max_bytes and inspected.image:
            return "refused", too_large
        if state.size > max_bytes:
            return "skipped", f"neither its content type nor its name says that it is an image, and {too_large}"
        if inspected.image is None and not is_image(await fetch(self.body, max_bytes)):
            return "skipped", "its bytes are not those of an image"
        change = "its content changed after it was indexed" if self.indexed else "it has neither a mark nor a document"
        return "waiting", f"{change}: no sidecar has looked at it yet"

    def _explain_mark(self, judgement: Judgement, mark: Mark) -> Explanation:
        inspected, codec, state = judgement.inspected, self.policy.codec, self.body.state
        trusts = (replace(codec, keys=(key,)).verify(inspected.entries, state.metadata) for key in codec.keys)
        signer = next((place for place, trust in enumerate(trusts, 1) if trust in {Trust.LABELS, Trust.ALL}), None)
        model = self.reconciler.models()[self.policy.model]
        report = MarkReport(
            mark=mark,
            digest=model.known[mark.model].digest if mark.model in model.known else None,
            is_genuine=signer is not None if codec.keys else None,
            key=signer,
            is_copied=mark.owner != owner_digest(self.reconciler.site, state.ref),
            holds=self._holds(judgement, mark),
            stale=judgement.stale,
        )
        labels, status = inspected.entries.labels, judgement.document["status"]
        parts = [_describe_labelling(mark.model, labels, mark.at)]
        if report.holds is False:
            status = "waiting"
            parts = ["its mark is not signed by a key of this site, or its entries were changed: no label is believed"]
        elif report.holds:
            parts.append("a copy of what was labelled" if report.is_copied else "its content has not changed since")
        elif report.is_copied or not inspected.etag_matches:
            status = "waiting"
            change = "it was copied or renamed" if report.is_copied else "its content changed"
            parts = [f"{change} after it was labelled, and no sidecar has looked at it since"]
        else:
            parts.append("only its bytes can tell whether they are still the same (--verify)")
        if "model" in report.stale:
            parts.append(f"the present model is {model.info.id}")
        elif "rules" in report.stale:
            parts.append("the settings for labels have changed since")
        return self._report(status, *parts, mark=report, labels=labels, expected=judgement.document)

    def _explain_document(self, document: Document) -> Explanation:
        """Nothing could be, or was to be, written on the object: its document says what became of it."""
        status, code = document["status"], document.get("code")
        problem = STORE_CODES.get(str(code), str(document.get("reason")))
        if status in {"refused", "failed"}:
            return self._report(status, problem)
        labels = tuple(Label(name, document["scores"][name]) for name in document["labels"])
        parts = [_describe_labelling(document.get("model", "an unknown model"), labels, document.get("labelled"))]
        if code:
            parts.append(f"nothing is written on it: {problem}")
        elif self.policy.strategy == "none":
            parts.append('nothing is written on it, as the strategy "none" asks')
        elif self.policy.strategy == "tags":
            parts.append("its labels are tags")
        else:
            status = "waiting"
            parts.append("its labels were removed from it, and no sidecar has looked at it since")
        return self._report(status, *parts, labels=labels)

    def _holds(self, judgement: Judgement, mark: Mark) -> bool | None:
        inspected, document, state = judgement.inspected, self.indexed, self.body.state
        if judgement.is_believed:
            return True
        if not inspected.is_genuine:
            return False
        # An object that was copied, or whose store changes ETags, was read and compared before it was indexed.
        known = (state.etag, mark.at, state.revision)
        is_indexed = document is not None and known == tuple(map(document.get, ("etag", "labelled", "revision")))
        return True if is_indexed else None

    def _report(
        self,
        status: str,
        *because: str,
        mark: MarkReport | None = None,
        labels: tuple[Label, ...] = (),
        expected: Document | None = None,
    ) -> Explanation:
        """``because``: the reasons, which are said once each; what the store or the index adds is appended.

        ``expected`` is the document that the object ought to have, where that follows from its headers.
        """
        parts = list(because)
        differs: tuple[str, ...] = ()
        obstacles = filter(None, (self.body.state.readonly, self.body.state.unreadable))
        said = " ".join(because)
        parts += [text for code in obstacles if (text := STORE_CODES.get(code, code)) not in said]
        if self.outage:
            parts.append("the index does not answer")
        elif status == "skipped" and self.indexed is not None:
            parts.append("the index has a document of it, which is not to be there")
        elif expected is not None and self.indexed is None:
            parts.append("the index has no document of it")
        elif expected is not None and self.indexed is not None:
            names = dict.fromkeys([*expected, *self.indexed])
            differs = tuple(name for name in names if expected.get(name) != self.indexed.get(name))
            parts += [f"its document differs in {', '.join(differs)}"] if differs else []
        return Explanation(
            ref=self.body.state.ref,
            status=status,
            because="; ".join(dict.fromkeys(parts)),
            rule=self.rule,
            mark=mark,
            labels=labels,
            index=IndexReport(document=None if self.outage else self.indexed is not None, differs=differs),
        )

    async def verify(self, explanation: Explanation) -> Explanation:
        """The explanation, with what the present model finds where labels or a failure are explained.

        Raises Unavailable, Conflict.
        """
        failed = explanation.status == "failed"
        if not (failed or explanation.mark or explanation.status in {"labelled", "unlabelled"}):
            return explanation
        model, mark = self.reconciler.models()[self.policy.model], explanation.mark
        try:
            data = await fetch(self.body, self.policy.max_bytes)
            inference = await model.classify(data, self.policy.limits, self.body.state)
        except (Unreadable, Undecodable) as error:
            found = () if failed else (f"it cannot be labelled now: {error.message}",)
            return replace(explanation, verified=failed, differs=found)
        if failed:
            return replace(explanation, verified=False, differs=("it can be labelled now: try `imgtag dlq replay`",))
        vocabulary = self.reconciler.vocabularies(model.info, self.policy.labels)
        entries = self.reconciler.entry_builder.build(self.body.state, inference, model.info, vocabulary)
        if mark is None:
            now = vocabulary.document_labels(self.policy.codec.kept(entries)).labels
            return _with_differences(explanation, now, decimals=2)  # as documents have them
        is_same = mark.mark.content == encode_digest(inference.digest)
        mark = replace(mark, holds=is_same if mark.holds is None else mark.holds)
        user = self.policy.codec.split(self.body.state.metadata)[1]
        features = self.reconciler.store.features
        limit, overhead = features.metadata_limit, features.metadata_overhead
        now = ()
        with suppress(WriteRefused):  # today not even a mark would fit
            now = self.policy.codec.pack(entries, user, limit=limit, overhead=overhead).entries.labels
        first = () if is_same else ("its bytes are not those that were labelled",)
        return _with_differences(replace(explanation, mark=mark, differs=first), now, self.policy.codec.decimals)


def _with_differences(explanation: Explanation, now: tuple[Label, ...], decimals: int) -> Explanation:
    """``now``: what would be in the place of the labels that are explained, which have so many ``decimals``."""
    places: dict[str, list[str]] = {}
    for place, labels in enumerate((explanation.labels, now)):
        for label in labels:
            places.setdefault(label.name, ["none", "none"])[place] = f"{label.confidence:.{decimals}f}"
    differs = [*explanation.differs]
    differs += [f"{name}: {before} then, {after} now" for name, (before, after) in places.items() if before != after]
    return replace(explanation, verified=not differs, differs=tuple(differs))


def _describe_labelling(model: str, labels: tuple[Label, ...], at: int | None) -> str:
    when = datetime.fromtimestamp(at, UTC).strftime("on %Y-%m-%d at %H:%M:%S UTC") if at is not None else "once"
    return f"{model} {'labelled it' if labels else 'found no label with enough confidence'} {when}"


def _explain_absent(
    ref: ObjectRef, rule: str | None, indexed: Document | None, outage: Unavailable | None
) -> Explanation:
    because = "there is no such object"
    if indexed is not None:
        because += "; the index still has a document of it"
    index = IndexReport(document=None if outage else indexed is not None)
    return Explanation(ref=ref, status="absent", because=because, rule=rule, index=index)
