"""Grants of an object, as the headers that repeat them.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAcl.html
"""

from __future__ import annotations

from collections import defaultdict

from imgtag.errors import WriteRefused
from imgtag.types.ref import ObjectState
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.errors import S3Error, map_write_error


async def read_grants(client: Client, state: ObjectState) -> dict[str, str]:
    """Headers for the permissions of others than the owner; empty where the store has no ACLs. Raises as a write."""
    if state.native.is_minio:  # answers every request with the same private ACL
        return {}
    query = {"acl": ""} | ({"versionId": state.version} if state.version else {})
    try:
        return grant_headers(xml.parse((await client.send("GET", state.ref.bucket, state.ref.key, query=query)).data))
    except S3Error as error:
        if error.denied:
            raise WriteRefused(
                "its ACL cannot be read, so a write could lose it", code="acl_unknown", hint="Permit s3:GetObjectAcl."
            ) from error
        if error.status in {405, 501}:
            return {}
        raise map_write_error(error, state.ref) from error


def grant_headers(policy: xml.Element) -> dict[str, str]:
    """``AccessControlPolicy`` as headers; empty where only the owner has access, which every write grants anyway."""
    owner = ("id", xml.text(policy, "Owner/ID"))
    grants = []
    for grant in policy.iter("Grant"):
        group = xml.text(grant, "Grantee/URI")
        grantee = ("uri", group) if group else ("id", xml.text(grant, "Grantee/ID"))
        grants.append((xml.text(grant, "Permission"), grantee))
    if all(grant == ("FULL_CONTROL", owner) for grant in grants):
        return {}
    headers: defaultdict[str, list[str]] = defaultdict(list)
    for permission, (kind, name) in grants:
        headers[f"x-amz-grant-{permission.lower().replace('_', '-')}"].append(f'{kind}="{name}"')
    return {name: ", ".join(values) for name, values in headers.items()}
