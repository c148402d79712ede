"""The policy is enough, and none of it is too much: taking any one action away is named by doctor. On a real MinIO."""

import json
from uuid import uuid4

import pytest

from imgtag.jobs.inventory import find_newest_manifest, open_inventory
from imgtag.plugin.spec import PluginContext
from imgtag.plugin.store import Rewrite
from imgtag.types.ref import ObjectRef, Scope
from imgtag_s3 import SPEC, xml
from imgtag_s3.policy import build_policy
from imgtag_s3.races import KEYS
from integration.s3.bucket import Bucket
from integration.s3.portal import PortalStore
from integration.s3.test_s3_setup import _user
from unit.jobs.inventories import manifest, row, to_csv

JPEG = b"\xff\xd8\xff"
ALL = [
    (place, action)
    for place, statement in enumerate(json.loads(build_policy(["b"], "imgtag-probe-", tags=True))["Statement"])
    for action in statement["Action"]
]


@pytest.fixture(scope="module")
def kinds(minio, client):
    """One bucket of each kind, with objects that have tags and parts; shared, for they are only looked at."""
    buckets = [Bucket(client, f"policy-{uuid4().hex[:8]}") for _ in range(3)]
    for place, bucket in enumerate(buckets):
        bucket.make(lock=place == 2)
        bucket.put_with("a.jpg", JPEG, {"x-amz-tagging": "a=1"})
    buckets[1].set_versioning("Enabled")
    yield [bucket.name for bucket in buckets]
    _sweep(client)


def _sweep(client):
    """What users without the right to remove it have left."""
    root = xml.parse(client.send("GET").data)
    for bucket in root.findall("Buckets/Bucket"):
        name = xml.text(bucket, "Name")
        if name.startswith("imgtag-probe-"):
            for key in ("probe", *KEYS):
                for version in Bucket(client, name).versions(key):
                    client.send("DELETE", name, key, query={"versionId": version.id})
            client.send("DELETE", name)


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory):
    """Shared, so that races are run once."""
    return tmp_path_factory.mktemp("state")


def _store(minio, folder, state_dir, names, policy, tags=True):
    """A store as a user who has this policy alone, and labels as tags besides."""
    mine = _user(minio, folder, f"u{uuid4().hex[:10]}", json.dumps(policy)) | {"if_match": None}
    strategies = frozenset({"auto", "tags"} if tags else {"auto"})
    context = PluginContext(site="home", state_dir=state_dir, buckets=tuple(names), strategies=strategies)
    return SPEC.load()(SPEC.settings(**minio.settings | mine), context)


def _failed(portal, store):
    with portal.wrap_async_context_manager(store) as entered:
        return [check for check in PortalStore(portal, entered).checks() if not check.ok]


def test_with_all_of_it_only_the_notifications_are_missing(portal, minio, kinds, tmp_path, state_dir):
    """There is no target here for `imgtag setup` to name."""
    policy = json.loads(build_policy(kinds, "imgtag-probe-", tags=True))

    failed = _failed(portal, _store(minio, tmp_path, state_dir, kinds, policy))

    assert [f"notifications {name}" for name in kinds] == [check.check for check in failed]
    assert not [check for check in failed if "not permitted" in check.message]


@pytest.mark.parametrize(("place", "action"), ALL, ids=[f"{place}-{action[3:]}" for place, action in ALL])
def test_each_action_is_missed(portal, minio, kinds, tmp_path, state_dir, place, action):
    """Doctor fails without it, and says which one it is."""
    policy = json.loads(build_policy(kinds, "imgtag-probe-", tags=True))
    policy["Statement"][place]["Action"].remove(action)

    failed = _failed(portal, _store(minio, tmp_path, state_dir, kinds, policy))

    message = " ".join(
        f"{check.message} {check.hint}"
        for check in failed
        if "sends no notifications of new objects" not in check.message
    )
    assert action in message, message


def test_labels_as_tags_need_one_more(connect):
    """Only where a rule asks for them."""
    assert "s3:PutObjectTagging" not in build_policy(["b"], "p-")
    assert "s3:PutObjectTagging" in build_policy(["b"], "p-", tags=True)


@pytest.mark.parametrize("plans", [False, True])
def test_a_plan_needs_two_more(portal, minio, kinds, tmp_path, state_dir, plans):
    """With them it reads the rules of lifecycle and replication; without them it says that it does not know these."""
    policy = json.loads(build_policy(kinds, "imgtag-probe-", tags=True, plans=plans))
    with portal.wrap_async_context_manager(_store(minio, tmp_path, state_dir, kinds, policy)) as store:
        state = portal.call(store.stat, ObjectRef(kinds[1], "a.jpg"))
        unknown = portal.call(store.forecast, Rewrite(state=state, metadata={"owner": "me"})).unknown

    assert (set() if plans else {"lifecycle", "replication"}) == unknown & {"lifecycle", "replication"}


@pytest.mark.parametrize("versioning", [None, "Enabled"])
def test_the_work_needs_no_more(portal, minio, make_bucket, tmp_path, state_dir, versioning):
    """Labels on plain, tagged and multipart objects; tags stay; the picture of `doctor --send` comes and goes."""
    bucket = make_bucket(versioning)
    bucket.put_with("a.jpg", JPEG, {"x-amz-tagging": "a=1"})
    bucket.put_parts("b.jpg", [bytes(5 << 20), b"end"])
    store = _store(
        minio, tmp_path, state_dir, [bucket.name], json.loads(build_policy([bucket.name], "imgtag-probe-")), tags=False
    )

    with portal.wrap_async_context_manager(store) as entered:
        user = PortalStore(portal, entered)
        for key in ("a.jpg", "b.jpg"):
            assert "imgtag_red+fox" in user.label(bucket, key).metadata
        user.create(bucket, "c.jpg", JPEG)
        user.erase(bucket, "c.jpg")
        assert ["a.jpg", "b.jpg"] == user.keys(bucket)
    assert {"a": "1"} == bucket.tags("a.jpg")


@pytest.mark.parametrize("versioning", [None, "Enabled"])
def test_an_inventory_needs_to_list_and_read(portal, minio, kinds, make_bucket, tmp_path, state_dir, versioning):
    """In the bucket where inventories are, which no rule names, nothing more is permitted than that, nor needed."""
    bucket = make_bucket(versioning)
    data = to_csv([row("a.jpg", Bucket=kinds[0])])
    bucket.put("lists/data/1.csv.gz", data)
    bucket.put("lists/2026-11-27T01-00Z/manifest.json", manifest({"lists/data/1.csv.gz": data}, sourceBucket=kinds[0]))
    policy = json.loads(build_policy(kinds, "imgtag-probe-", inventory_buckets=[bucket.name]))

    async def read(store):
        newest = await find_newest_manifest(store, Scope(bucket.name, "lists/"))
        inventory = await open_inventory(store, newest.ref, buckets=set(kinds), spool=tmp_path)
        return [str(candidate.ref) async for candidate in inventory.read(lambda rejection: pytest.fail(str(rejection)))]

    with portal.wrap_async_context_manager(_store(minio, tmp_path, state_dir, kinds, policy)) as store:
        assert [f"{kinds[0]}/a.jpg"] == portal.call(read, store)
