"""A bucket, and what other clients do in it."""

from imgtag.types.ref import ObjectRef
from imgtag_s3 import xml
from imgtag_s3.errors import S3Error
from imgtag_s3.state import CHECKSUM_MODE
from imgtag_s3.versions import Versions

VOLATILE = {
    "date", "last-modified", "x-amz-id-2", "x-amz-request-id", "x-amz-version-id", "x-ratelimit-limit",
    "x-ratelimit-remaining", "x-minio-deployment-id",
}  # fmt: skip


class Bucket:
    """Objects are put with any headers, whole or in parts, and seen with all that the server shows."""

    def __init__(self, client, name):
        self.client = client
        self.name = name

    def make(self, *, lock=False):
        self.client.send("PUT", self.name, headers={"x-amz-bucket-object-lock-enabled": "true"} if lock else {})

    def set_versioning(self, status, excluded=None):
        prefixes = f"<ExcludedPrefixes><Prefix>{excluded}</Prefix></ExcludedPrefixes>" if excluded else ""
        self.set(
            "versioning", f"<VersioningConfiguration><Status>{status}</Status>{prefixes}</VersioningConfiguration>"
        )

    def set(self, what, document):
        self.client.send("PUT", self.name, query={what: ""}, body=document.encode())

    def put(self, key, data, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.put_with(key, data, named)

    def put_with(self, key, data, headers):
        return self.client.send("PUT", self.name, key, headers=headers, body=data).headers

    def put_parts(self, key, parts, headers=None, part_headers=({}, {}, {})):
        send = self.client.send
        begun = send("POST", self.name, key, query={"uploads": ""}, headers=headers or {})
        upload = xml.text(xml.parse(begun.data), "UploadId")
        root = xml.Element("CompleteMultipartUpload")
        for number, (part, also) in enumerate(zip(parts, part_headers, strict=False), 1):
            query = {"uploadId": upload, "partNumber": str(number)}
            etag = send("PUT", self.name, key, query=query, body=part, headers=also).headers["etag"]
            sums = {f"Checksum{name.rpartition('-')[2].upper()}": value for name, value in also.items()}
            xml.add(root, "Part", PartNumber=str(number), ETag=etag, **sums)
        send("POST", self.name, key, query={"uploadId": upload}, body=xml.render(root))

    def delete(self, key, version=None):
        self.client.send("DELETE", self.name, key, query={"versionId": version} if version else {})

    def get(self, key):
        return self.client.send("GET", self.name, key).data

    def tag(self, key, tags):
        root = xml.Element("Tagging")
        within = xml.add(root, "TagSet")
        for name, value in tags.items():
            xml.add(within, "Tag", Key=name, Value=value)
        self.client.send("PUT", self.name, key, query={"tagging": ""}, body=xml.render(root))

    def tags(self, key):
        root = xml.parse(self.client.send("GET", self.name, key, query={"tagging": ""}).data)
        return {tag.findtext("Key"): tag.findtext("Value") for tag in root.iter("Tag")}

    def headers(self, key, part=None):
        query = {"partNumber": str(part)} if part else {}
        headers = self.client.send("HEAD", self.name, key, query=query, headers={CHECKSUM_MODE: "ENABLED"}).headers
        return {name.lower(): value for name, value in headers.items() if name.lower() not in VOLATILE}

    def exists(self, key):
        try:
            self.client.send("HEAD", self.name, key)
        except S3Error:
            return False
        return True

    def versions(self, key):
        return self.client.blocking(Versions, "home").list_versions(ObjectRef(self.name, key))

    def snapshot(self, key):
        """All that the server shows of an object, but for what the sidecar writes, and when."""
        headers = self.headers(key)
        kept = {name: value for name, value in headers.items() if not name.startswith("x-amz-meta-imgtag")}
        count = int(self.headers(key, 1).get("x-amz-mp-parts-count", "1"))
        parts = [
            (part["content-length"], _checksums(part)) for part in (self.headers(key, n + 1) for n in range(count))
        ]
        return {"headers": kept, "parts": parts, "tags": self.tags(key), "bytes": self.get(key)}


def without_made(snapshot, before):
    """MinIO itself gives a checksum to what it copies and has none: see docs/reference/what-is-kept.md."""
    added = {"x-amz-checksum-crc64nvme", "x-amz-checksum-type"} - before["headers"].keys()
    plain = {name: value for name, value in snapshot["headers"].items() if name not in added}
    parts = [(size, {n: v for n, v in sums.items() if n not in added}) for size, sums in snapshot["parts"]]
    return {**snapshot, "headers": plain, "parts": parts}


def _checksums(headers):
    return {name: value for name, value in headers.items() if name.startswith("x-amz-checksum")}
