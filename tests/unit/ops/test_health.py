"""Alive, and ready."""

from __future__ import annotations

from imgtag.ops.health import Health


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_ready_when_every_component_is() -> None:
    """Nothing is ready before it says so, and each that is not says why."""
    health = Health()
    assert "service: not started" == str(health.ready())

    health.up("store")
    health.component("index", "no answer")
    assert (False, "index: no answer") == (health.ready().ok, str(health.ready()))

    health.up("index")
    assert (True, "ok") == (health.ready().ok, str(health.ready()))


def test_alive_while_heartbeats_come() -> None:
    """A component that is down does not count; a silence that is too long does."""
    clock = Clock()
    health = Health(clock=clock)
    health.component("index", "down")
    health.expect("pipeline", within=10)

    clock.now = 10
    assert health.live().ok

    clock.now = 11
    assert "pipeline: no progress for 11 seconds" == str(health.live())

    health.beat("pipeline")
    assert health.live().ok

    clock.now = 99
    health.forget("pipeline")
    assert health.live().ok


def test_a_heartbeat_that_nobody_expects_changes_nothing() -> None:
    """Whoever beats after the end, or before the beginning, makes nobody wait for more."""
    clock = Clock()
    health = Health(clock=clock)

    health.beat("pipeline")
    clock.now = 1e6

    assert health.live().ok
