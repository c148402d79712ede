"""Sources that break their contract, each in one place; ``shows`` names the tests that must say so."""

from dataclasses import replace
from urllib.parse import unquote_plus

import pytest

from conformance.users import MemorySourceUser
from imgtag.errors import Unavailable
from imgtag.plugin.source import SourceFeatures
from imgtag.testing.broker import MemoryBroker, MemoryDeadLetters
from imgtag.testing.conformance import SourceConformance
from imgtag.testing.source import MemoryDelivery, MemorySource
from imgtag.types.event import Intent
from imgtag.types.ref import ObjectRef


class Broken(SourceConformance):
    shows = ()
    patience = 0.5
    quiet = 0.1
    settle = 0.01
    Source = MemorySource
    Broker = MemoryBroker
    Letters = MemoryDeadLetters
    delivery = ()
    features = SourceFeatures(parks=True)

    @pytest.fixture
    def connect(self, monkeypatch):
        for method in self.delivery:
            monkeypatch.setattr(MemoryDelivery, method.__name__, method)
        broker = self.Broker()
        broker.dead = self.Letters()
        return lambda: self.Source(broker, features=self.features)

    @pytest.fixture
    def user(self, connect):
        return MemorySourceUser(connect())


class TestSound(Broken):
    patience = 5.0
    features = SourceFeatures(parks=True, ack_wait=1.0, shared=True)


class TestIsNeverShared(Broken):
    shows = ("test_another_makes_it_shared",)
    features = SourceFeatures(parks=True, shared=True)

    async def is_exclusive(self):
        return True

    delivery = (is_exclusive,)


class TestAcksOnNak(Broken):
    shows = ("test_nak_delivers_again", "test_naked_outlives_the_source")

    async def nak(self, delay):
        await self.ack()

    delivery = (nak,)


class TestDeliversAgainWhatIsAcked(Broken):
    shows = ("test_ack_ends",)
    sound_nak = MemoryDelivery.nak

    async def ack(self):
        await TestDeliversAgainWhatIsAcked.sound_nak(self, 0.02)

    delivery = (ack,)


class TestIgnoresTheDelay(Broken):
    shows = ("test_nak_delivers_again",)

    class Broker(MemoryBroker):
        def requeue(self, message, delay):
            super().requeue(message, 0.0)


class TestCountsNoAttempts(Broken):
    shows = ("test_nak_delivers_again",)

    class Broker(MemoryBroker):
        def requeue(self, message, delay):
            super().requeue(message, delay)
            message.attempt = 0


class TestStopsWhileOneWaits(Broken):
    shows = ("test_nak_holds_nothing_else_up",)

    class Broker(MemoryBroker):
        def _pick_due(self):
            blocked = self._messages and self._messages[0].holder is None
            message = super()._pick_due()
            return None if blocked and message is not self._messages[0] else message


class TestForgetsTheUnanswered(Broken):
    shows = ("test_unanswered_comes_again",)

    class Broker(MemoryBroker):
        def release(self, holders):
            self._messages = [message for message in self._messages if message.holder not in holders]


class TestForgetsTheNaked(Broken):
    shows = ("test_naked_outlives_the_source",)

    class Broker(MemoryBroker):
        def release(self, holders):
            super().release(holders)
            self._messages = [message for message in self._messages if message.attempt == 0 or not message.due]


class TestRaisesWhenClosed(Broken):
    shows = ("test_answer_to_a_closed_source",)
    sound_ack = MemoryDelivery.ack

    async def ack(self):
        if self not in self._source._open:
            raise Unavailable
        await TestRaisesWhenClosed.sound_ack(self)

    delivery = (ack,)


class TestIgnoresExtend(Broken):
    shows = ("test_extend_keeps_it",)
    features = SourceFeatures(ack_wait=0.1)

    class Broker(MemoryBroker):
        def extend(self, message, ack_wait):
            pass


class TestWaitsForEver(Broken):
    shows = ("test_ack_wait_passes",)
    features = SourceFeatures(ack_wait=0.1)

    class Broker(MemoryBroker):
        async def take(self, holder, ack_wait):
            return await super().take(holder, None)


class TestDropsSome(Broken):
    shows = ("test_delivers_each_of_many", "test_publish_many")

    class Broker(MemoryBroker):
        def send(self, message):
            if "/7" not in message.hints[0].ref.key:
                super().send(message)


class TestUnescapesKeys(Broken):
    shows = ("test_odd_keys",)

    class Source(MemorySource):
        def send(self, *hints):
            super().send(*(replace(h, ref=ObjectRef(h.ref.bucket, unquote_plus(h.ref.key))) for h in hints))


class TestLosesTheIntent(Broken):
    shows = ("test_publish_keeps_the_intent", "test_publish_outlives_the_publisher")

    class Source(MemorySource):
        async def publish(self, hints):
            await super().publish([replace(hint, intent=Intent.NORMAL) for hint in hints])


class TestPublishesToItself(Broken):
    shows = ("test_publish_reaches_another_instance", "test_publish_outlives_the_publisher")

    class Source(MemorySource):
        listens = False

        async def deliveries(self):
            self.listens = True
            async for delivery in super().deliveries():
                yield delivery

        async def publish(self, hints):
            if self.listens:
                await super().publish(hints)


class TestPublishesTheFirst(Broken):
    shows = ("test_publish_many",)

    class Source(MemorySource):
        async def publish(self, hints):
            await super().publish(hints[:1])


class TestKeepsEveryLetter(Broken):
    shows = ("test_dead_letter_newest_stays",)

    class Letters(MemoryDeadLetters):
        async def put(self, letter):
            letter = replace(letter, id=str(len(self.letters)))
            self.letters[letter.id] = letter


class TestKeepsTheOldestLetter(Broken):
    shows = ("test_dead_letter_newest_stays",)

    class Letters(MemoryDeadLetters):
        async def put(self, letter):
            if letter.ref not in {letter.ref for letter in self.letters.values()} - {None}:
                await super().put(letter)


class TestKeepsOneLetterWithoutKey(Broken):
    shows = ("test_dead_letter_without_key",)

    class Letters(MemoryDeadLetters):
        async def put(self, letter):
            for each in [each for each in self.letters.values() if each.ref == letter.ref]:
                del self.letters[each.id]
            await super().put(letter)


class TestForgetsLetters(Broken):
    shows = ("test_dead_letter_is_kept",)

    class Source(MemorySource):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.dead = MemoryDeadLetters()


class TestGivesEachLetterOfAKeyTheSameId(Broken):
    shows = ("test_dead_letters_drop_spares_newer",)

    class Letters(MemoryDeadLetters):
        async def put(self, letter):
            await super().put(letter)
            id_, stored = self.letters.popitem()
            id_ = id_.partition("-")[0]
            self.letters[id_] = replace(stored, id=id_)


class TestDiscardsOtherLettersToo(Broken):
    shows = ("test_dead_letters_discard",)

    class Letters(MemoryDeadLetters):
        async def discard(self, refs):
            return await super().discard(refs) and len(self.letters.popitem())


class TestDiscardsNothing(Broken):
    shows = ("test_dead_letters_discard",)

    class Letters(MemoryDeadLetters):
        async def discard(self, refs):
            return 0


class TestCountsWhatItWasAsked(Broken):
    shows = ("test_dead_letters_drop",)

    class Letters(MemoryDeadLetters):
        async def drop(self, ids):
            await super().drop(ids)
            return len(ids)
