"""Certificates, and the JWTs of NATS' operator mode (https://docs.nats.io/reference/reference-protocols/nats_jwt)."""

import json
import os
import shutil
import subprocess
from base64 import b32encode, urlsafe_b64encode
from hashlib import sha256

import nkeys
import pytest

UNLIMITED = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
STORAGE = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


def certificates(folder):
    """An authority, and a server's and a client's certificate from it: NAME.pem and NAME.key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make certificates with")
    folder.mkdir()

    def run(*arguments):
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=tests")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    for name in ("server", "client"):
        run("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext")
        run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signing)
    return folder


def make_nkey(kind):
    """A seed and its public key; ``kind`` is one of nkeys' PREFIX_BYTE_..."""
    seed = bytes(nkeys.encode_seed(os.urandom(32), kind))
    return seed, nkeys.from_seed(bytearray(seed)).public_key.decode()


class Operator:
    """An operator with one account and its user, and a system account as JetStream wants it."""

    def __init__(self):
        self.seed, self.name = make_nkey(nkeys.PREFIX_BYTE_OPERATOR)
        self._account_seed, self.account = make_nkey(nkeys.PREFIX_BYTE_ACCOUNT)
        _, self.system = make_nkey(nkeys.PREFIX_BYTE_ACCOUNT)

    def config(self):
        """The blocks of nats-server's configuration."""
        limits = {**UNLIMITED, "wildcards": True}
        account = self._sign(self.seed, self.name, self.account, {"limits": {**limits, **STORAGE}}, "account")
        system = self._sign(self.seed, self.name, self.system, {"limits": limits}, "account")
        operator = self._sign(self.seed, self.name, self.name, {}, "operator")
        return (
            f"operator: {operator}\nsystem_account: {self.system}\nresolver: MEMORY\n"
            f"resolver_preload: {{ {self.account}: {account}, {self.system}: {system} }}"
        )

    def creds(self):
        """The content of a .creds file."""
        seed, name = make_nkey(nkeys.PREFIX_BYTE_USER)
        facts = {"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
        jwt = self._sign(self._account_seed, self.account, name, facts, "user")
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{seed.decode()}\n------END USER NKEY SEED------\n"
        )

    def _sign(self, seed, issuer, subject, facts, kind):
        claims = {"iat": 1, "iss": issuer, "name": kind, "sub": subject, "nats": {**facts, "type": kind, "version": 2}}
        claims["jti"] = b32encode(sha256(json.dumps(claims).encode()).digest()).decode().rstrip("=")
        text = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(claims)}"
        signature = nkeys.from_seed(bytearray(seed)).sign(text.encode())
        return f"{text}.{urlsafe_b64encode(signature).decode().rstrip('=')}"


def _part(facts):
    return urlsafe_b64encode(json.dumps(facts).encode()).decode().rstrip("=")
