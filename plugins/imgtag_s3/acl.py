"""Grants of an object, as the headers that give them again.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAcl.html
"""

from __future__ import annotations

from collections import defaultdict

from imgtag.errors import WriteRefused
from imgtag.types.ref import ObjectState
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.errors import Fault, while_writing


def grants(client: Client, state: ObjectState) -> dict[str, str]:
    """Headers for what others than the owner may do; none where the store has no ACLs. Raises as a write does."""
    if state.native.minio:  # answers every question with the same private ACL
        return {}
    query = {"acl": ""} | ({"versionId": state.version} if state.version else {})
    try:
        return granted(xml.parse(client.send("GET", state.ref.bucket, state.ref.key, query=query).data))
    except Fault as fault:
        if fault.denied:
            raise WriteRefused(
                "its ACL must not be read, so it could be lost", code="acl_unknown", hint="Permit s3:GetObjectAcl."
            ) from fault
        if fault.status in {405, 501}:
            return {}
        raise while_writing(fault, state.ref) from fault


def granted(policy: xml.Element) -> dict[str, str]:
    """``AccessControlPolicy`` as headers; none where the owner is alone, which is what every write gives."""
    owner = ("id", xml.text(policy, "Owner/ID"))
    found = [(xml.text(grant, "Permission"), _grantee(grant)) for grant in policy.iter("Grant")]
    if all(grant == ("FULL_CONTROL", owner) for grant in found):
        return {}
    headers: defaultdict[str, list[str]] = defaultdict(list)
    for permission, (kind, name) in found:
        headers[f"x-amz-grant-{permission.lower().replace('_', '-')}"].append(f'{kind}="{name}"')
    return {name: ", ".join(values) for name, values in headers.items()}


def _grantee(grant: xml.Element) -> tuple[str, str]:
    group = xml.text(grant, "Grantee/URI")
    return ("uri", group) if group else ("id", xml.text(grant, "Grantee/ID"))
