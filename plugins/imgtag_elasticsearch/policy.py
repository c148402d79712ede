"""The roles that a sidecar needs, in the form of each product. They concern the indexes of one alias only."""

from __future__ import annotations

import json
from collections.abc import Collection

from imgtag_elasticsearch.rebuild import SUFFIX
from imgtag_elasticsearch.settings import ElasticsearchSettings
from imgtag_elasticsearch.setup import base_of


def describe_roles(settings: ElasticsearchSettings, commands: Collection[str]) -> str:
    """One JSON object with the body for each product.

    https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-security-put-role
    https://docs.opensearch.org/latest/security/access-control/api/#create-role
    """
    names = [settings.index, f"{base_of(settings)}*"]
    if "reindex" in commands:
        names.append(f"{settings.index}{SUFFIX}")
    templates = "setup" in commands
    elastic = {
        "cluster": ["monitor", *(["manage_index_templates"] if templates else [])],
        # `manage` creates the index, its alias and its mapping; and, for a rebuild, changes aliases and deletes.
        "indices": [{"names": names, "privileges": ["read", "write", "view_index_metadata", "manage"]}],
    }
    actions = ["read", "write", "indices_monitor", "manage"]
    opensearch = {
        "cluster_permissions": [
            "cluster_monitor",
            "cluster_composite_ops",
            *(["cluster_manage_index_templates"] if templates else []),
        ],
        "index_permissions": [{"index_patterns": names, "allowed_actions": actions}],
    }
    return json.dumps(
        {
            f"PUT /_security/role/imgtag-{settings.index}": elastic,
            f"PUT /_plugins/_security/api/roles/imgtag-{settings.index}": opensearch,
        },
        indent=2,
    )
