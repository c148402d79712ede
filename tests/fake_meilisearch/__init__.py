"""A Meilisearch over real HTTP, as far as the sidecar uses one, with faults on demand.

What a filter, an order or a task means is taken from the server's source (named beside each piece), never from what
the sidecar would like; and all that is said of it here is said in `tests/contract/meilisearch`, which also runs on a
real server.
"""

from fake_meilisearch.server import FakeMeilisearch

__all__ = ["FakeMeilisearch"]
