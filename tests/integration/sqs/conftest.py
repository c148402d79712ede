"""A server with the API of SQS."""

import pytest

from integration.conftest import binary
from servers.elasticmq import ElasticMq


@pytest.fixture(scope="session")
def elasticmq(tmp_path_factory):
    """ElasticMQ; tests keep apart by queues of their own."""
    with ElasticMq(binary("elasticmq"), tmp_path_factory.mktemp("elasticmq")) as server:
        yield server
