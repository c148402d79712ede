"""What the kernel shows of this machine, as strains of bulk work."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest

from imgtag.flow.governor import Caps, Governor, Strain
from imgtag.ops.metrics import Metrics
from imgtag.ops.pressure import MachinePressure, PressureLimits


class Machine:
    """Files as the kernel shows them, and a clock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 100.0
        limits = PressureLimits(cpu=0.4, io=0.2, memory=0.1, load=1.5, temperature=85)
        self.pressure = MachinePressure(limits, root=root, clock=lambda: self.now)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def stall(self, path: str, *, avg10: float = 0.0, total: int = 0) -> None:
        some = f"some avg10={avg10:.2f} avg60=99.00 avg300=99.00 total={total}"
        self.write(path, f"{some}\nfull avg10=99.00 avg60=99.00 avg300=99.00 total=0")

    def strains(self) -> dict[str, Strain]:
        return {strain.reason: strain for strain in self.pressure.read()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_stalls_since_the_last_reading(machine: Machine) -> None:
    """The kernel's average of ten seconds serves only for the first look."""
    for resource in ("cpu", "io", "memory"):
        machine.stall(f"proc/pressure/{resource}", avg10=10, total=1_000_000)
    first = machine.strains()
    machine.now += 2
    machine.stall("proc/pressure/cpu", avg10=10, total=1_000_000 + 1_200_000)
    second = machine.strains()

    levels = {reason: round(strain.level, 3) for reason, strain in first.items()}
    assert {"cpu_pressure": 0.25, "io_pressure": 0.5, "memory_pressure": 1.0} == levels
    assert 1.5 == pytest.approx(second["cpu_pressure"].level)
    assert "CPU pressure of 60%, over 40%" == second["cpu_pressure"].text
    assert 0 == second["io_pressure"].level


def test_the_container_counts_too(machine: Machine) -> None:
    """Its memory may be short while the machine has plenty. Its CPU quota makes nobody wait but itself."""
    machine.write("proc/self/cgroup", "0::/pod/imgtag")
    for resource in ("cpu", "io", "memory"):
        machine.stall(f"proc/pressure/{resource}", avg10=1)
        machine.stall(f"sys/fs/cgroup/pod/imgtag/{resource}.pressure", avg10=50)

    levels = {reason: round(strain.level, 3) for reason, strain in machine.strains().items()}

    assert {"cpu_pressure": 0.025, "io_pressure": 2.5, "memory_pressure": 5.0} == levels


def test_the_load_stands_in_for_stalls(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the kernel does not show them: it follows much more slowly."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    machine = Machine(machine.root)
    machine.write("proc/loadavg", "9.00 1.00 1.00 1/100 4711")

    assert ["load"] == list(machine.strains())
    assert (1.5, "load of 2.2 for each core, over 1.5") == (
        machine.strains()["load"].level,
        machine.strains()["load"].text,
    )
    machine.stall("proc/pressure/cpu")
    assert ["cpu_pressure"] == list(machine.strains())


@pytest.mark.parametrize(
    ("trips", "limit"),
    [
        ({}, 85),
        ({"passive": 95_000, "critical": 100_000}, 90),
        ({"passive": 80_000}, 80),
        ({"active": 50_000}, 85),
        ({"passive": -274_000, "critical": 0}, 85),
    ],
)
def test_the_limit_of_a_temperature(machine: Machine, trips: dict[str, int], limit: int) -> None:
    """Where the kernel slows down, or ten degrees below where it gives up; else the one that is set."""
    zone = "sys/class/thermal/thermal_zone0"
    machine.write(f"{zone}/type", "x86_pkg_temp")
    for number, (kind, degrees) in enumerate(trips.items()):
        machine.write(f"{zone}/trip_point_{number}_type", kind)
        machine.write(f"{zone}/trip_point_{number}_temp", str(degrees))

    machine.write(f"{zone}/temp", str(limit * 1000))
    assert 1 == machine.strains()["temperature"].level
    machine.write(f"{zone}/temp", str((limit - 10) * 1000))
    assert 0.8 == pytest.approx(machine.strains()["temperature"].level)
    machine.write(f"{zone}/temp", str((limit + 5) * 1000))
    assert f"x86_pkg_temp at {limit + 5} °C, over {limit} °C" == machine.strains()["temperature"].text


def test_work_at_a_low_priority(machine: Machine) -> None:
    """Its part of what all processors did since the last reading; nothing is known before the second."""
    shares = []
    for ticks in ("100 20 30 900 5 0 0 7 0 0", "110 100 40 950 9 0 0 9 0 0", "cannot be read"):
        machine.write("proc/stat", f"cpu  {ticks}\ncpu0 1 2 3")
        machine.strains()
        shares.append(machine.pressure.polite_share)

    assert [0.0, 0.8, 0.8] == shares


@pytest.mark.parametrize("text", ["0", "-274000", "200000", "", "hot"])
def test_a_sensor_that_shows_nonsense(machine: Machine, text: str) -> None:
    machine.write("sys/class/thermal/thermal_zone0/temp", text)

    assert {} == machine.strains()


@pytest.mark.parametrize("text", ["", "some", "some avg10=x total=1", "full avg10=1.00 avg60=0 avg300=0 total=3"])
def test_what_cannot_be_read_is_no_pressure(machine: Machine, text: str) -> None:
    machine.write("proc/pressure/cpu", text)

    assert {} == machine.strains()


@pytest.mark.anyio
async def test_this_machine_governs() -> None:
    """The real files can be read beside the event loop, and the state is among the metrics."""
    metrics = Metrics()
    governor = Governor(Caps(concurrency=4), pressure=MachinePressure(), report=partial(metrics.show_bulk, "ours"))
    metrics.listen("inspect", governor.observe)
    async with anyio.create_task_group() as tasks:
        async with governor.admit(10):
            with metrics.stage("inspect"):
                tasks.start_soon(governor.run)
                while not metrics.registry.get_sample_value("imgtag_bulk_limit"):
                    await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()

    sample = metrics.registry.get_sample_value
    assert (1, 1) == (sample("imgtag_bulk_objects_total"), sample("imgtag_bulk_in_work"))
    assert 0 == sample("imgtag_bulk_held_back", {"reason": "hours"})


def test_listeners_hear_of_what_went_well() -> None:
    """An error that comes at once would make the store look fast."""
    metrics, heard = Metrics(), []
    metrics.listen("inspect", heard.append)

    with metrics.stage("fetch"):
        pass
    with pytest.raises(KeyError), metrics.stage("inspect"):
        raise KeyError
    assert [] == heard
    with metrics.stage("inspect"):
        pass
    assert 1 == len(heard)
    assert 0 <= heard[0] < 60
