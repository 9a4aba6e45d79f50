"""Counters of energy, over made-up files and libraries: no machine of ours has one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from elastiq.energy import Jetson, Meter, Nvidia, Rapl, meter
from tests.elastiq.conftest import Clock


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


@pytest.fixture
def packages(tmp_path):
    for place, name in enumerate(("package-0", "package-1", "psys")):
        zone = tmp_path / f"intel-rapl:{place}"
        write(zone, name=name, energy_uj=5_000_000, max_energy_range_uj=100_000_000)
    write(tmp_path / "intel-rapl:0:0", name="core", energy_uj=1)
    return tmp_path


def test_packages_are_summed_and_their_parts_are_not(packages):
    counter = Rapl(packages)
    assert counter.joules() == 0.0
    write(packages / "intel-rapl:0", energy_uj=7_000_000)
    write(packages / "intel-rapl:1", energy_uj=6_500_000)
    write(packages / "intel-rapl:2", energy_uj=99_000_000)
    assert counter.joules() == pytest.approx(3.5)


def test_a_counter_that_begins_anew_goes_on(packages):
    counter = Rapl(packages)
    write(packages / "intel-rapl:0", energy_uj=1_000_000)
    assert counter.joules() == pytest.approx(96.0)


def test_what_only_root_may_read_is_no_counter(packages):
    for place in range(3):
        (packages / f"intel-rapl:{place}" / "energy_uj").unlink()
    assert Rapl(packages).joules() is None


class Library:
    """The driver's count of one GPU, in thousandths of a joule."""

    class NVMLError(Exception):
        pass

    def __init__(self, counts=True):
        self.counts = counts
        self.count = 2500

    def nvmlInit(self):  # noqa: N802
        pass

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return SimpleNamespace(index=index)

    def nvmlDeviceGetTotalEnergyConsumption(self, device):  # noqa: N802
        if not self.counts:
            raise self.NVMLError
        return self.count


def test_a_gpu_counts_by_itself():
    assert Nvidia(Library()).joules() == 2.5
    assert Nvidia(Library(counts=False)).joules() is None


def test_the_name_asked_for_is_that_of_the_real_library():
    pynvml = pytest.importorskip("pynvml")
    assert hasattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption")


def rails(folder, **watts):
    files = {"name": "ina3221"}
    for place, (name, value) in enumerate(watts.items(), 1):
        files |= {f"in{place}_label": name, f"in{place}_input": 5000}
        files |= {f"curr{place}_input": round(value * 200)}
    write(folder / "hwmon3", **files)


def test_a_module_is_counted_by_the_rail_before_all_others(tmp_path):
    rails(tmp_path, VDD_IN=10, VDD_CPU_GPU_CV=4, VDD_SOC=2)
    counter = Jetson(tmp_path, clock=Clock())
    assert counter.joules() == pytest.approx(10.0)
    rails(tmp_path, VDD_IN=20, VDD_CPU_GPU_CV=4, VDD_SOC=2)
    assert counter.joules() == pytest.approx(25.0)


def test_or_by_all_rails_where_none_is_before_all(tmp_path):
    rails(tmp_path, VDD_GPU_SOC=6, VDD_CPU_CV=3, VIN_SYS_5V0=4)
    assert Jetson(tmp_path, clock=Clock()).joules() == pytest.approx(13.0)


def test_no_counter_is_no_energy(tmp_path):
    none = Meter([Rapl(tmp_path), Jetson(tmp_path)])
    assert none.joules() is None
    assert none.name == "no counter"


def test_all_that_count_are_summed(packages, tmp_path):
    both = Meter([Rapl(packages), Nvidia(Library()), Jetson(tmp_path / "none")])
    assert both.name == "RAPL and NVML"
    assert both.joules() == 2.5


def test_this_machine_counts_up_or_says_that_it_does_not():
    here = meter()
    first, second = here.joules(), here.joules()
    assert (first is None) == (here.name == "no counter")
    assert first is None or second >= first
