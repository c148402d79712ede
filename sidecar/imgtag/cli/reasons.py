"""What `imgtag plan` and `imgtag backfill` say of objects, by code."""

from __future__ import annotations

REASONS = {
    # Passed over.
    "current": "labelled, and current",
    "unlabelled": "labelled before, with no label above the threshold",
    "not_admitted": "named by no rule",
    "no_image": "no images, by their type or suffix",
    "failed": "failed before (--failed tries them again)",
    "refused": "refused before (--failed tries them again)",
    "stale": "labelled by another model or other rules (--stale labels them again)",
    "incomplete": "labelled, without embedding or facts (--incomplete adds them)",
    "missing": "missing in the index, and not selected",
    "differing": "changed since they were indexed, and not selected",
    "not_selected": "outside of the chosen sizes and times",
    "other_rule": "under another rule",
    "skipped": "no images, by their content",
    "reindexed": "labelled before; the index has them now",
    "absent": "gone before they were looked at",
    "deleted": "gone or no longer admitted; the index has forgotten them",
    # Left out for want of room.
    "vec": "the embedding is left out",
    "facts": "the facts (size, camera, position) are left out",
    "raw": "the scores are left out",
    "labels": "some labels are left out",
    # Not known.
    "lifecycle": "the lifecycle rules may not be read (s3:GetLifecycleConfiguration)",
    "replication": "the replication rules may not be read (s3:GetReplicationConfiguration)",
    "if_match": "what If-Match is worth was never tested here; taken to be atomic (`imgtag doctor` tests it)",
    "index": "what is indexed; taken to be nothing, as the index does not answer",
}
