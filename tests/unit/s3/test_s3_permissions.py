"""The policy grows with what it is for."""

import json

from imgtag_s3.policy import build_policy


def test_policy_grows_with_what_is_asked_for():
    """Locks and ACLs are permitted only where they are used, and MinIO's way to remove a version on MinIO only."""
    plain = json.dumps(json.loads(build_policy(["photos"], "imgtag-probe-")))
    whole = build_policy(["photos"], "imgtag-probe-", locks=True, is_minio=False)

    assert "Retention" in whole
    assert "GetObjectAcl" in whole
    assert "PutObjectRetention" not in plain
    assert "GetObjectAcl" not in plain
    assert '"s3:DeleteObject",' in json.dumps(json.loads(plain)["Statement"][2])
    assert '"s3:DeleteObject",' not in json.dumps(json.loads(whole)["Statement"][2])
