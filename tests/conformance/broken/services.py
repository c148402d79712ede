"""Services that break what all plugins promise, each in one place; ``shows`` names the tests that must say so."""

import pytest

from imgtag.plugin.service import Change
from imgtag.testing.conformance.service import ServiceConformance
from imgtag.testing.service import MemoryService

WANTED = ("stream", "consumer")


class Outfit(MemoryService):
    """Needs two things, which are in ``things`` when they are there: name -> when it was made."""

    def __init__(self, things):
        super().__init__()
        self.things = things

    async def setup(self, *, apply):
        return [self.make(name, apply=apply) for name in WANTED if name not in self.things]

    def make(self, name, *, apply):
        record = {"name": name}
        if apply:
            record["at"] = self.things[name] = len(self.things)
        return Change(what=name, done=apply, undo=record)

    async def undo(self, record, *, apply):
        name = record["name"]
        if record.get("at", self.things.get(name)) != self.things.get(name) or name not in self.things:
            return None
        if apply:
            del self.things[name]
        return Change(what=name, done=apply)


class Broken(ServiceConformance):
    shows = ()
    Service = Outfit

    @pytest.fixture
    def connect(self):
        things = {}
        return lambda: self.Service(things)


class TestSound(Broken):
    pass


class TestHasNoChecks(Broken):
    shows = ("test_checks_are_findings",)

    class Service(Outfit):
        async def checks(self):
            return
            yield


class TestMakesWithoutBeingTold(Broken):
    shows = ("test_setup_without_apply_makes_nothing",)

    class Service(Outfit):
        async def setup(self, *, apply):
            changes = await super().setup(apply=True)
            return [Change(what=change.what, done=apply, undo=change.undo) for change in changes]


class TestMakesHalf(Broken):
    shows = ("test_setup_leaves_nothing_to_make", "test_setup_again_makes_nothing")

    class Service(Outfit):
        async def setup(self, *, apply):
            (first, *_) = [name for name in WANTED if name not in self.things] or [None]
            return [self.make(first, apply=apply)] if first else []


class TestMakesAllAnew(Broken):
    shows = ("test_setup_again_makes_nothing",)

    class Service(Outfit):
        async def setup(self, *, apply):
            return [self.make(name, apply=True) for name in WANTED] if apply else await super().setup(apply=False)


class TestUndoesInWordsOnly(Broken):
    shows = ("test_undo_takes_back_what_setup_made", "test_undo_of_what_is_not_there")

    class Service(Outfit):
        async def undo(self, record, *, apply):
            change = await super().undo(record, apply=False)
            return change and Change(what=change.what, done=apply)


class TestUndoesWithoutBeingTold(Broken):
    shows = ("test_undo_without_apply_changes_nothing",)

    class Service(Outfit):
        async def undo(self, record, *, apply):
            change = await super().undo(record, apply=True)
            return change and Change(what=change.what, done=apply)


class TestUndoesWhatIsGone(Broken):
    shows = ("test_undo_of_what_is_not_there",)

    class Service(Outfit):
        async def undo(self, record, *, apply):
            return await super().undo(record, apply=apply) or Change(what=record["name"], done=apply)


class TestForgetsHowToUndo(Broken):
    shows = ("test_undo_takes_back_what_setup_made", "test_undo_without_apply_changes_nothing")

    class Service(Outfit):
        async def undo(self, record, *, apply):
            return None


class TestRecordsNoJSON(Broken):
    shows = (
        "test_undo_takes_back_what_setup_made",
        "test_undo_without_apply_changes_nothing",
        "test_undo_of_what_is_not_there",
    )

    class Service(Outfit):
        def make(self, name, *, apply):
            change = super().make(name, apply=apply)
            return Change(what=name, done=apply, undo={**change.undo, "names": {name}})
