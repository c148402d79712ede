"""Fairness, with real workers and a real stream: somebody uploads a hundred of the slowest images that are admitted."""

from __future__ import annotations

import anyio
import pytest

from integration.nats.flood import flooded, measure

pytestmark = pytest.mark.anyio

MAX_SLOW = 12
"""Slow images that may be done while another one waits. It is one or two unless the machine is busy with other work."""


async def test_slow_images_do_not_hold_up_those_of_others(nats, make, subject):
    """Each of 12 waits for a few of 100 at most. In slow images and not in seconds, because the machine may be busy:
    `benchmarks/fairness.py` measures the time, behind 500.
    """
    async with flooded(make(nats.url), nats.url, subject) as flood:
        with anyio.fail_after(100):
            waits = await measure(flood, slow=100, others=12)
    assert 12 == len(waits)
    assert max(wait.slow for wait in waits) <= MAX_SLOW
