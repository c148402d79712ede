"""Who we are to the server, and what it lets us do."""

import re

import anyio
import nkeys
import pytest

from imgtag.errors import ConfigError, Unavailable
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef
from integration.nats.conftest import listen, until
from integration.nats.identity import Operator, certificates, make_nkey
from integration.nats.publishing import client, notification

pytestmark = pytest.mark.anyio

USERS = """
authorization {{ users: [
  {{ user: "imgtag", password: "{password}", {permissions} }}
  {{ user: "store", password: "p" }}
] }}
"""


async def works(source):
    """Whether a hint goes through it and back."""
    async with source, listen(source) as ear:
        await source.publish([Hint(ref=ObjectRef("photos", "a.jpg"))])
        return await ear.key() == "a.jpg"


async def refused(source):
    """Why it cannot be entered."""
    with pytest.raises(Unavailable) as caught:
        async with source:
            pass
    return caught.value


async def test_user_and_password(make_nats, make):
    """A user with the right password is taken; with a wrong one, or none, it is said what to look at."""
    server = make_nats(extra=USERS.format(password="right", permissions=""))

    assert await works(make(server.url, user="imgtag", password="right"))
    for identity in ({"user": "imgtag", "password": "wrong"}, {}):
        error = await refused(make(server.url, **identity))
        assert "Authorization Violation" in error.message
        assert "password" in error.hint


async def test_token(make_nats, make):
    """A token is taken; a wrong one is not."""
    server = make_nats(extra='authorization { token: "right" }')

    assert await works(make(server.url, token="right"))
    assert "rejected the login" in (await refused(make(server.url, token="wrong"))).message


async def test_nkey(make_nats, make):
    """An NKey is taken; another one is not."""
    seed, public = make_nkey(nkeys.PREFIX_BYTE_USER)
    other, _ = make_nkey(nkeys.PREFIX_BYTE_USER)
    server = make_nats(extra=f"authorization {{ users: [ {{ nkey: {public} }} ] }}")

    assert await works(make(server.url, nkey_seed=seed.decode()))
    assert "rejected the login" in (await refused(make(server.url, nkey_seed=other.decode()))).message


async def test_creds(make_nats, make):
    """The content of a .creds file is taken; that of another operator is not."""
    operator = Operator()
    server = make_nats(extra=operator.config())

    assert await works(make(server.url, creds=operator.creds()))
    assert "rejected the login" in (await refused(make(server.url, creds=Operator().creds()))).message
    for seed in ("SU", "7" * 58, "SU" + "7" * 56, ""):
        broken = re.sub(r"(?<=SEED-----\n)SU\w+", seed, operator.creds())
        assert (await refused(make(server.url, creds=broken))).hint


@pytest.mark.parametrize("first", [False, True], ids=["after the greeting", "handshake first"])
async def test_tls_with_client_certificate(make_nats, make, tmp_path, first):
    """Both sides show certificates; without ours, or with another authority, nobody is taken."""
    files = certificates(tmp_path / "certificates")
    tls = f'cert_file: "{files}/server.pem", key_file: "{files}/server.key", ca_file: "{files}/ca.pem", verify: true'
    server = make_nats(extra=f"tls {{ {tls}, {'handshake_first: true' if first else ''} }}")
    ours = {"tls_cert": files / "client.pem", "tls_key": files / "client.key", "tls_first": first}

    assert await works(make(server.url, tls_ca=files / "ca.pem", **ours))
    assert (await refused(make(server.url, tls_ca=files / "ca.pem", tls_first=first))).message
    assert "tls_ca" in (await refused(make(server.url, **ours))).hint


@pytest.mark.parametrize("content", [None, "", "no certificate", "directory"])
async def test_unusable_ca_file(make, tmp_path, content):
    """A CA file that is missing, empty, of another kind or a folder is a finding that names setting and file."""
    path = tmp_path / "ca.pem"
    if content == "directory":
        path.mkdir()
    elif content is not None:
        path.write_text(content)
    error = await misconfigured(make("nats://127.0.0.1:1", tls_ca=path))

    assert error.message.startswith(f"[source.nats] tls_ca: {path}: ")
    assert "PEM" in error.hint


@pytest.mark.parametrize("broken", ["client.pem", "client.key", "encrypted", "other.key"])
async def test_unusable_certificate(make, tmp_path, broken):
    """So is our own certificate, or a key that is missing, has a password or belongs to another certificate."""
    files = certificates(tmp_path / "certificates")
    key = files / "client.key"
    if broken == "encrypted":
        words = ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", files / "encrypted.key"]
        await anyio.run_process(words)
        key = files / "encrypted.key"
    elif broken == "other.key":
        key = files / "server.key"
    else:
        (files / broken).unlink()
    error = await misconfigured(make("nats://127.0.0.1:1", tls_cert=files / "client.pem", tls_key=key))

    assert error.message.startswith(f"[source.nats] tls_cert, tls_key: {files}/client.pem, {key}: ")


async def misconfigured(source):
    """The finding with which it cannot be entered."""
    with pytest.raises(ConfigError) as caught:
        async with source:
            pass
    return caught.value


async def test_no_password_without_tls(make_nats, make):
    """Where TLS is asked for and the server has none, it never hears the password."""
    server = make_nats(extra=f"trace: true, debug: true\n{USERS.format(password='right', permissions='')}")
    error = await refused(make(server.url.replace("nats:", "tls:"), user="imgtag", password="right"))

    assert "does not offer TLS" in error.message
    assert "CONNECT" not in server.log.read_text()


async def test_policy_is_enough(make_nats, make, subject):
    """With no more than the permissions of its policy a source does all that it does."""
    permissions = make("nats://nowhere").policy()
    server = make_nats(extra=USERS.format(password="p", permissions=permissions))
    source = make(server.url, user="imgtag", password="p")
    async with source, listen(source) as ear:
        await source.setup(apply=True)
        async with client(server.url.replace("//", "//store:p@")) as store:
            await store.jetstream().publish(subject, notification("photos", "a.jpg"))
        await (await ear.next()).nak(0.1)
        assert await ear.key() == "a.jpg"
        await source.publish([Hint(ref=ObjectRef("photos", "b.jpg"))])
        assert await ear.key() == "b.jpg"
        assert [] == [letter async for letter in source.dead.list()]
        assert await source.dead.drop(["1"]) == 0
        assert all([check.ok async for check in source.checks()])


async def test_forbidden_is_said(make_nats, make):
    """What the server forbids is told as such, not as silence."""
    permissions = 'permissions: { publish: { deny: ["$JS.API.>"] } }'
    server = make_nats(extra=USERS.format(password="p", permissions=permissions))
    source = make(server.url, user="imgtag", password="p")
    async with source:
        with pytest.raises(Unavailable, match=r"does not permit this: .*publish to"):
            await source.setup(apply=True)
        assert any([not check.ok and "permissions" in check.hint async for check in source.checks()])


async def test_publishing_is_tried_and_leaves_nothing(make_nats, make, site):
    """A permission that is missing is found before it is needed, and no message is in any stream for it."""
    permissions = f'permissions: {{ publish: {{ deny: ["imgtag.{site}.parked"] }} }}'
    server = make_nats(extra=USERS.format(password="p", permissions=permissions))
    async with make(server.url, user="imgtag", password="p") as source:
        await source.setup(apply=True)
        failed = [check async for check in source.checks() if not check.ok]
        async with client(server.url.replace("//", "//store:p@")) as store:
            streams = await store.jetstream().streams_info()

    assert [f"imgtag.{site}.parked" in check.message.lower() for check in failed] == [True]
    assert "permissions" in failed[0].hint
    assert [stream.state.messages for stream in streams] == [0, 0, 0, 0]


async def test_refused_meanwhile(make_nats, make):
    """A sidecar that is refused while it runs goes on as soon as it is taken again."""
    server = make_nats(extra=USERS.format(password="old", permissions=""))
    source = make(server.url, user="imgtag", password="old")
    async with source, listen(source) as ear:
        await source.publish([Hint(ref=ObjectRef("photos", "a.jpg"))])
        assert await ear.key() == "a.jpg"
        server.extra = USERS.format(password="new", permissions="")
        server.restart()
        await until(lambda: "rejected the login" in source.trouble)
        server.extra = USERS.format(password="old", permissions="")
        server.restart()
        await until(lambda: not source.trouble)
        await source.publish([Hint(ref=ObjectRef("photos", "b.jpg"))])
        assert await ear.key() == "b.jpg"
