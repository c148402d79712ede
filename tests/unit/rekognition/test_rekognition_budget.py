"""Calls are counted on disk before they are made."""

import json
from contextlib import suppress

import anyio
import pytest

from imgtag.errors import Unavailable
from imgtag_rekognition.budget import BLOCK, Budget, BudgetSpent
from imgtag_rekognition.pace import Pace

pytestmark = pytest.mark.anyio


@pytest.fixture
def make(tmp_path):
    """Make a budget over the same file."""
    return lambda max_calls=1000, month=lambda: "2026-11": Budget(tmp_path / "calls.json", max_calls, month)


async def test_a_budget_allows_so_many_calls_and_no_more(make):
    """Also over restarts, whatever was counted in advance."""
    made = 0
    for _ in range(6):
        budget = make(50)
        with suppress(BudgetSpent):
            for _ in range(9):
                await budget.take()
                made += 1
        await budget.close()

    assert made == 50
    assert await make(50).used() == 50


async def test_a_crash_counts_too_many_and_never_too_few(make):
    """The disk is ahead of the calls."""
    budget = make()
    for _ in range(BLOCK + 1):
        await budget.take()

    assert await make().used() == 2 * BLOCK


async def test_calls_of_one_image_are_counted_together_or_not_at_all(make):
    """Half an image would be paid for again."""
    budget = make(5)
    await budget.take(2)
    await budget.take(2)
    with pytest.raises(BudgetSpent):
        await budget.take(2)
    await budget.take(1)
    await budget.close()

    assert await budget.used() == 5


async def test_processes_count_together(make):
    """A backfill beside a sidecar spends the same budget."""
    first, second = make(30), make(30)
    made = 0
    with suppress(BudgetSpent):
        while True:
            await first.take()
            made += 1
            if made <= 10:
                await second.take()
                made += 1
    # The second one still holds what it reserved.
    await second.close()
    await first.close()

    assert made <= 30
    assert await make().used() == made


async def test_calls_at_once_are_counted_one_by_one(make):
    """None is made beyond the budget."""
    budget, made = make(25), []

    async def call():
        try:
            await budget.take()
        except BudgetSpent:
            return
        made.append(1)

    async with anyio.create_task_group() as tasks:
        for _ in range(60):
            tasks.start_soon(call)

    assert len(made) == 25


async def test_a_month_begins_at_zero(make):
    """What was reserved in the old one does not count in the new one."""
    now = ["2026-11"]
    budget = make(10, lambda: now[0])
    for _ in range(10):
        await budget.take()
    with pytest.raises(BudgetSpent):
        await budget.take()
    now[0] = "2026-12"
    await budget.take()
    await budget.close()

    assert await budget.used() == 1


async def test_a_call_that_was_not_charged_is_taken_back(make):
    """As AWS does not charge what it throttles."""
    budget = make(1)
    month = await budget.take()
    await budget.give_back(1, month)
    await budget.take()
    with pytest.raises(BudgetSpent):
        await budget.take()


async def test_what_comes_back_after_the_month_is_gone(make):
    """Calls of November are no calls of December, however many were under way at its end."""
    now = ["2026-11"]
    budget = make(100, lambda: now[0])
    november = await budget.take(40)
    now[0] = "2026-12"
    await budget.take()
    await budget.give_back(40, november)
    for _ in range(99):
        await budget.take()

    with pytest.raises(BudgetSpent):
        await budget.take()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"calls": "x"}'])
async def test_a_damaged_file_is_not_taken_as_empty(make, tmp_path, content):
    """It would allow to spend the budget twice."""
    (tmp_path / "calls.json").write_text(content)

    with pytest.raises(Unavailable) as caught:
        await make().take()
    assert caught.value.code == "budget_damaged"


async def test_no_call_is_made_that_cannot_be_counted(tmp_path):
    """The folder is a file."""
    (tmp_path / "state").write_text("")

    with pytest.raises(Unavailable, match="cannot be counted"):
        await Budget(tmp_path / "state" / "calls.json", 10).take()


async def test_the_file_says_what_it_counts(make, tmp_path):
    """For people."""
    budget = make()
    await budget.take()
    await budget.close()

    assert json.loads((tmp_path / "calls.json").read_text()) == {"month": "2026-11", "calls": 1}


async def test_the_pace_halves_when_there_were_too_many_calls_and_recovers():
    """Never beyond the maximum, never to a standstill."""
    pace = Pace(10.0)
    pace.slow_down()
    assert pace.rate == 5.0
    for _ in range(50):
        pace.slow_down()
    assert 0 < pace.rate < 1
    for _ in range(200):
        pace.speed_up()
    assert pace.rate == 10.0


async def test_turns_are_spread_over_time(monkeypatch):
    """So many a second, whoever asks."""
    waits, now = [], [100.0]

    async def sleep(seconds):
        waits.append(round(seconds, 3))

    monkeypatch.setattr("imgtag_rekognition.pace.anyio.sleep", sleep)
    pace = Pace(4.0, lambda: now[0])
    for _ in range(4):
        await pace.wait()

    assert waits == [0.25, 0.5, 0.75]
