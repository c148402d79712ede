"""How an object stands, judged from a listing and its document: no request of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from imgtag.config.policy import ObjectPolicy
from imgtag.engine import JobParts
from imgtag.reconcile import Reconciler
from imgtag.types.document import Document
from imgtag.types.image_names import is_called_image
from imgtag.types.labels import Label
from imgtag.types.mark import Mark
from imgtag.types.metadata import MARK
from imgtag.types.ref import Listed, ObjectRef
from imgtag.types.signature import Trust

_MADE_FROM = ("model", "rules", "labelled")
"""What a document repeats of the mark: its model, its rules, its time."""
JUDGED_FIELDS = (
    "etag",
    "revision",
    "status",
    "code",
    *_MADE_FROM,
    "width",
    "space",
    "labels",
    "scores",
)
"""Of a document: what a `Judge` looks at."""
_MARKLESS = frozenset({"none", "tags"})


class Standing(StrEnum):
    """What is to be said of an object; the first that applies."""

    NOT_ADMITTED = "not_admitted"
    """No rule names it."""
    NO_IMAGE = "no_image"
    """By its suffix; the index has no document of it."""
    MISSING = "missing"
    """The index has no document of it."""
    DIFFERING = "differing"
    """The document is of another content, or of labels that are not on the object."""
    REFUSED = "refused"
    """It may not or cannot be read, as its document says."""
    FAILED = "failed"
    """It could not be labelled, as its document says."""
    STALE = "stale"
    """Another model or other rules labelled it."""
    INCOMPLETE = "incomplete"
    """Its document lacks an embedding or facts."""
    UNLABELLED = "unlabelled"
    """Nothing on it reached its threshold."""
    CURRENT = "current"


@dataclass(frozen=True, slots=True)
class Labelling:
    """What labels objects now: the id of a model, the digest of its rules, whether it gives embeddings."""

    model: str
    rules: str
    has_embedding: bool


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Judges objects. ``labelling_of`` says what labels objects under a policy now."""

    policy_of: Callable[[ObjectRef], ObjectPolicy | None]
    labelling_of: Callable[[ObjectPolicy], Labelling]

    def __call__(self, listed: Listed, document: Document | None) -> Standing:
        """``document`` is that of the index, at least its JUDGED_FIELDS.

        Where the listing has no ETag, the document is taken at its word.
        """
        return self.judge(listed, document, self.policy_of(listed.ref))

    def judge(self, listed: Listed, document: Document | None, policy: ObjectPolicy | None) -> Standing:
        """As a call, where the policy of the object is known."""
        if policy is None:
            return Standing.NOT_ADMITTED
        if document is None:
            return Standing.NO_IMAGE if is_called_image(listed.ref.key, "") is False else Standing.MISSING
        if not listed.etag or self._is_untouched(listed, document, policy):
            return self._judge_document(document, policy)
        standing, difference = self.compare(listed, document, policy)
        return Standing.DIFFERING if difference else standing

    def compare(self, listed: Listed, document: Document, policy: ObjectPolicy) -> tuple[Standing, str]:
        """How an object stands by its document, and in what the document differs from what is listed, if it does.

        The difference is ``etag``, ``mark``, ``signature``, ``labels`` or ``revision``; empty where there is none. Mark
        and labels are compared where the listing has metadata.
        """
        standing, difference = self._judge_document(document, policy), ""
        if not listed.etag or document["etag"] != listed.etag:
            return standing, "etag"
        if listed.metadata is not None and carries_mark(document, policy):
            entries, _ = policy.codec.split(listed.metadata)
            trust, mark = policy.codec.verify(entries, listed.metadata), entries.mark
            if mark is None or not _is_made_from(document, mark):
                difference = "mark"
            elif trust is Trust.NONE:
                difference = "signature"
            elif not _has_labels_of(document, entries.labels):
                difference = "labels"
            elif trust is Trust.UNSIGNED:
                # From before there was a key: believed for its document, and signed when it is labelled again.
                standing = Standing.STALE
        if listed.revision is not None and document.get("revision", listed.revision) != listed.revision:
            difference = difference or "revision"
        return standing, difference

    def _is_untouched(self, listed: Listed, document: Document, policy: ObjectPolicy) -> bool:
        """Whether nobody wrote on the object since it was indexed, so that its entries need not be decoded."""
        if listed.revision is None or document.get("revision") != listed.revision or document["etag"] != listed.etag:
            return False
        if listed.metadata is None or not carries_mark(document, policy):
            return True
        # A revision may be a time in seconds: a second upload within the second of our write has no mark.
        mark = Mark.decode(listed.metadata.get(MARK, ""))
        if mark is None or not (mark.signature or not policy.codec.keys):
            return False
        return _is_made_from(document, mark)

    def _judge_document(self, document: Document, policy: ObjectPolicy) -> Standing:
        if document["status"] in {"refused", "failed"}:
            return Standing(document["status"])
        labelling, keep = self.labelling_of(policy), policy.codec.keep
        if (document.get("model"), document.get("rules")) != (labelling.model, labelling.rules):
            return Standing.STALE
        lacks_vector = labelling.has_embedding and "vec" in keep and "space" not in document
        if lacks_vector or ("facts" in keep and "width" not in document):
            return Standing.INCOMPLETE
        return Standing.UNLABELLED if document["status"] == "unlabelled" else Standing.CURRENT


def carries_mark(document: Document, policy: ObjectPolicy) -> bool:
    """Whether labels and a mark should be on the object that has this document."""
    return policy.strategy not in _MARKLESS and "code" not in document


def _has_labels_of(document: Document, labels: Sequence[Label]) -> bool:
    """Whether the labels of the document are on the object, with the same confidence.

    The object may have more: an ancestor, or a label that no model here knows.
    """
    written = {label.name: round(label.confidence, 2) for label in labels}
    scores = document.get("scores", {})
    return all(name in written and written[name] == scores.get(name) for name in document.get("labels", ()))


def make_judge(parts: JobParts) -> Judge:
    """A judge by the present configuration and models, which do not change while a job runs."""
    return judge_by(parts.pipeline.reconcile)


def judge_by(reconcile: Reconciler) -> Judge:
    """A judge by the rule and the models that are in use now."""
    labellings: dict[int | None, Labelling] = {}

    def find_labelling(policy: ObjectPolicy) -> Labelling:
        if policy.rule not in labellings:
            info = reconcile.models()[policy.model].info
            vocabulary = reconcile.vocabularies(info, policy.labels)
            labellings[policy.rule] = Labelling(vocabulary.model, vocabulary.digest, bool(info.projection))
        return labellings[policy.rule]

    return Judge(policy_of=reconcile.policy_of, labelling_of=find_labelling)


def _is_made_from(document: Document, mark: Mark) -> bool:
    """Whether the document repeats this mark."""
    return (mark.model, mark.rules, mark.at) == tuple(document.get(name) for name in _MADE_FROM)
