"""What a measurement depends on: read here, and from made-up devices that tell more."""

from __future__ import annotations

import pytest

from elastiq import device


@pytest.fixture
def root(tmp_path):
    files = {
        "var/lib/nvpmodel/status": "pmode:0002 fmode:quiet",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000",
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1700000",
        "sys/class/thermal/thermal_zone0/temp": "48500",
        "sys/class/thermal/thermal_zone1/temp": "-256000",  # a sensor that is off
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_power_mode_is_among_the_circumstances(root):
    found = device.circumstances(root)
    assert found["power mode"] == "pmode:0002 fmode:quiet"
    assert found["jetson linux"].startswith("# R36")
    assert found["governor"] == "schedutil"


@pytest.mark.parametrize(
    ("machine", "flags", "exact"),
    [
        ("x86_64", (), False),
        ("x86_64", ("avx2", "avx512f"), False),
        ("x86_64", ("avx2", "avx_vnni"), True),
        ("AMD64", ("avx2", "avx512f", "avx512_vnni", "amx_int8"), True),
        ("aarch64", ("asimd",), True),
    ],
)
def test_only_x86_without_vnni_overflows_in_int8(machine, flags, exact):
    assert device.Device("a CPU", 2, flags, machine, 8).exact_in_int8 is exact


def test_what_a_device_does_not_tell_is_left_out(tmp_path):
    found = device.circumstances(tmp_path)
    assert "power mode" not in found
    assert found["governor"] == "unknown"
    assert device.clock(tmp_path) is None
    assert device.temperature(tmp_path) is None


def test_clocks_are_averaged_and_the_hottest_zone_counts(root):
    assert device.clock(root) == pytest.approx(1600.0)
    assert device.temperature(root) == pytest.approx(48.5)


def test_a_virtual_machine_tells_its_clock_elsewhere(tmp_path):
    (tmp_path / "proc").mkdir()
    cores = "".join(f"processor : {n}\ncpu MHz\t\t: {mhz}\n\n" for n, mhz in ((0, 2000), (1, 3000)))
    (tmp_path / "proc" / "cpuinfo").write_text(cores)
    assert device.clock(tmp_path) == pytest.approx(2500.0)


def test_here_versions_are_those_that_are_installed():
    assert device.versions()["numpy"]
    assert (device.clock() or 1.0) > 0
