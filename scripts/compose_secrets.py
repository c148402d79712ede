"""Create the secrets of compose.yaml that are missing, one file each, in compose/secrets/.

    python3 scripts/compose_secrets.py

Needs nothing but Python. Files are readable by everybody inside a folder that only you may enter: the containers run as
users of their own, and compose mounts files with their permissions.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sys
from pathlib import Path

COMPOSE = Path(__file__).parents[1] / "compose"
RANDOM = (
    "minio_root_password",
    "secret_key",
    "nats_minio_password",
    "nats_password",
    "meilisearch_master_key",
    "grafana_password",
    "web_token",
)


def main(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in RANDOM:
        create(folder / name, f"k{secrets.token_hex(24)}")  # a letter first: NATS takes a text of digits for a number
    # Meilisearch derives a key from the master key and the key's uid, so both are known before it runs.
    # https://github.com/meilisearch/meilisearch/blob/main/crates/meilisearch-auth/src/store.rs (generate_key_as_hexa)
    uid = json.loads((COMPOSE / "meilisearch-key.json").read_text())["uid"]
    master = (folder / "meilisearch_master_key").read_bytes()
    create(folder / "meilisearch_key", hmac.new(master, uid.encode(), "sha256").hexdigest())


def create(path: Path, secret: str) -> None:
    if not path.exists():
        path.write_text(secret)
        path.chmod(0o644)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else COMPOSE / "secrets")
