"""How an object stands, judged from a listing and its document: no request of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from imgtag.config.policy import ObjectPolicy
from imgtag.engine import JobParts
from imgtag.reconcile import Reconciler
from imgtag.types.document import Document
from imgtag.types.image_names import is_called_image
from imgtag.types.mark import Mark
from imgtag.types.metadata import MARK
from imgtag.types.ref import Listed, ObjectRef
from imgtag.types.signature import Trust

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
        """``document`` is that of the index; the listing may lack an ETag, which is then not compared."""
        policy = self.policy_of(listed.ref)
        if policy is None:
            return Standing.NOT_ADMITTED
        if document is None:
            return Standing.NO_IMAGE if is_called_image(listed.ref.key, "") is False else Standing.MISSING
        if not listed.etag or not self._agrees(listed, document, policy):
            return Standing.DIFFERING
        return self._judge_labels(document, policy)

    def _judge_labels(self, document: Document, policy: ObjectPolicy) -> Standing:
        if document["status"] in {"refused", "failed"}:
            return Standing(document["status"])
        labelling, keep = self.labelling_of(policy), policy.codec.keep
        if (document.get("model"), document.get("rules")) != (labelling.model, labelling.rules):
            return Standing.STALE
        lacks_vector = labelling.has_embedding and "vec" in keep and "space" not in document
        if lacks_vector or ("facts" in keep and "width" not in document):
            return Standing.INCOMPLETE
        return Standing.UNLABELLED if document["status"] == "unlabelled" else Standing.CURRENT

    def _agrees(self, listed: Listed, document: Document, policy: ObjectPolicy) -> bool:
        """Whether the document was made from what is listed."""
        if document["etag"] != listed.etag or (
            listed.revision is not None and document.get("revision", listed.revision) != listed.revision
        ):
            return False
        if listed.metadata is None or policy.strategy in _MARKLESS or "code" in document:
            return True
        mark = Mark.decode(listed.metadata.get(MARK, ""))
        if mark is None or (mark.at, mark.rules) != (document.get("labelled"), document.get("rules")):
            return False
        if not policy.codec.keys:
            return True
        entries, _ = policy.codec.split(listed.metadata)
        return policy.codec.verify(entries, listed.metadata) in {Trust.ALL, Trust.LABELS}


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
            labellings[policy.rule] = Labelling(vocabulary.model, vocabulary.digest, info.projection is not None)
        return labellings[policy.rule]

    return Judge(policy_of=reconcile.policy_of, labelling_of=find_labelling)
