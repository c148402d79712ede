"""Counting what others are given, on a model of a server whose messages take their time."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest

from imgtag.errors import Unavailable
from imgtag_nats import audience
from imgtag_nats.audience import Audience

pytestmark = pytest.mark.anyio


class Consumer:
    """A consumer as the server has it, and what is on its way to us: at most what the open pull asked for."""

    def __init__(self, delivered):
        self.delivered = delivered
        self.others = 0
        self.on_its_way = deque()
        self.expected = 0
        self.life = "first"

    def info(self):
        return {"delivered": {"consumer_seq": self.delivered}, "created": self.life}

    def deliver(self, *, ours):
        self.delivered += 1
        if not ours:
            self.others += 1
        else:
            self.on_its_way.append(self.delivered)
            self.expected -= 1


class World:
    """Two consumers, and an audience that is told what happens in random order."""

    def __init__(self, seed):
        self.random = Random(seed)
        self.consumers = {"events": Consumer(7), "hints": Consumer(0)}
        self.audience = Audience(self.consumers, self.read)
        self.held = []
        """Moments, and what others had been given then."""
        for name, consumer in self.consumers.items():
            self.audience.compare_at_rest(name, consumer.info())

    def given_to_others(self):
        return sum(consumer.others for consumer in self.consumers.values())

    async def read(self, name):
        """The answer arrives later than it was made."""
        self.run(self.random.randrange(3))
        info = self.consumers[name].info()
        self.run(self.random.randrange(3))
        return info

    def run(self, steps):
        for _ in range(steps):
            self.step()

    def step(self):
        name = self.random.choice(list(self.consumers))
        consumer = self.consumers[name]
        match self.random.choices(("others", "ours", "arrival", "pull"), (1, 10, 10, 10))[0]:
            case "others":
                consumer.deliver(ours=False)
            case "ours" if consumer.expected:
                consumer.deliver(ours=True)
            case "arrival" if consumer.on_its_way:
                self.held.append((self.audience.count(name, consumer.on_its_way.popleft()), self.given_to_others()))
            case "pull" if not consumer.expected and not consumer.on_its_way:
                if self.random.random() < 0.3:
                    self.audience.compare_at_rest(name, consumer.info())
                consumer.expected = self.random.randrange(1, 5)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Nobody waits."""
    monkeypatch.setattr(audience, "ARRIVAL", 0)
    monkeypatch.setattr(audience, "LINGER", 0)


@pytest.mark.parametrize("seed", range(8))
async def test_never_alone_when_others_were_given_something(seed):
    """In whatever order messages and answers arrive: between its arrival and the question."""
    world, answers = World(seed), []
    for _ in range(100):
        world.run(world.random.randrange(20))
        for moment, given in world.held[-3:]:
            given_until_now = world.given_to_others()
            answers.append(await world.audience.is_alone_since(moment))
            assert not answers[-1] or given == given_until_now
    assert {True, False} == set(answers)


@pytest.mark.parametrize("ours", [True, False])
async def test_a_message_that_arrives_before_the_answer(ours):
    """It was delivered after the server described the consumer, and says whether others were given something before."""
    world = World(0)
    events = world.consumers["events"]
    events.delivered = 8
    moment = world.audience.count("events", 8)

    async def read(name):
        info = world.consumers[name].info()
        if name == "events":
            events.delivered += 1 if ours else 2
            world.audience.count("events", events.delivered)
        return info

    world.audience._read_consumer = read
    assert ours == await world.audience.is_alone_since(moment)


async def test_a_new_leader_that_counts_again():
    """Numbers that come a second time, or a consumer of another life, leave nothing certain; a moment at rest does."""
    world = World(0)
    world.run = lambda _: None
    events = world.consumers["events"]
    moment = world.audience.count("events", 8)
    events.delivered = 8
    assert await world.audience.is_alone_since(moment)

    again = world.audience.count("events", 8)
    assert not await world.audience.is_alone_since(moment)
    assert not await world.audience.is_alone_since(again)

    world.audience.compare_at_rest("events", events.info())
    events.delivered = 9
    moment = world.audience.count("events", 9)
    assert await world.audience.is_alone_since(moment)
    events.life = "second"
    assert not await world.audience.is_alone_since(moment)
    world.audience.compare_at_rest("events", events.info())
    assert not await world.audience.is_alone_since(moment)


async def test_no_answer():
    """Where the server does not answer, or has no such consumer, nothing is certain."""
    world = World(0)

    async def fail(_):
        raise Unavailable("no answer")

    async def find_none(_):
        return None

    for read in (fail, find_none):
        unsure = Audience(world.consumers, read)
        for name, consumer in world.consumers.items():
            unsure.compare_at_rest(name, consumer.info())
        assert not await unsure.is_alone_since(unsure.count("events", 8))
