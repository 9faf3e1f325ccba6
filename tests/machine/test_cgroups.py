"""The limits of control groups, from files as Linux writes them."""

import math

import pytest

from fastreg.machine import cgroups, threads, versions

TWO = "31 23 0:28 {root} {mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
ONE = "32 31 0:29 {root} {mount} rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
ONE_MEMORY = "35 31 0:32 {root} {mount} rw - cgroup cgroup rw,memory\n"


@pytest.fixture
def system(tmp_path):
    """A function that makes the files: what is mounted, the own group, and the contents of files below the mount."""

    def make(mounts, own, files, mount="cg"):
        place = str(tmp_path / mount).replace(" ", "\\040")
        lines = "".join(line.format(root=root, mount=place) for line, root in mounts)
        (tmp_path / "mountinfo").write_text("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n" + lines)
        (tmp_path / "cgroup").write_text(own)
        for name, text in files.items():
            path = tmp_path / mount / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


def test_version_2_at_the_root(system):
    """In a container with a namespace of its own."""
    assert cgroups.processors(system([(TWO, "/")], "0::/\n", {"cpu.max": "150000 100000\n"})) == 1.5
    assert cgroups.processors(system([(TWO, "/")], "0::/\n", {"cpu.max": "max 100000\n"})) == math.inf


def test_version_2_of_the_own_group_and_those_above(system):
    """A service of systemd, whose slice has a quota too."""
    own = "0::/user.slice/run 7.scope\n"
    files = {"user.slice/run 7.scope/cpu.max": "300000 100000", "user.slice/cpu.max": "max 100000"}
    assert cgroups.processors(system([(TWO, "/")], own, files)) == 3
    assert cgroups.processors(system([(TWO, "/")], own, {"user.slice/cpu.max": "250000 100000"})) == 2.5
    assert cgroups.processors(system([(TWO, "/")], own, {"user.slice/other/cpu.max": "100000 100000"})) == 2.5


def test_version_1_of_the_own_group(system):
    own = "4:memory:/lab/job\n3:cpuset:/\n2:cpu,cpuacct:/lab/job\n"
    period = {f"{folder}cpu.cfs_period_us": "50000" for folder in ("", "lab/", "lab/job/")}
    files = {"cpu.cfs_quota_us": "-1", "lab/cpu.cfs_quota_us": "400000", "lab/job/cpu.cfs_quota_us": "100000"}
    assert cgroups.processors(system([(ONE, "/")], own, period | files)) == 2
    assert cgroups.processors(system([(ONE, "/")], own, {"lab/job/cpu.cfs_quota_us": "-1"})) == 8


def test_a_container_that_sees_a_part_of_the_groups(system):
    """Docker without a namespace mounts the container's group alone; the path tells the whole way."""
    own = "2:cpu,cpuacct:/docker/f00/inner\n0::/docker/f00/inner\n"
    files = {"cpu.max": "400000 100000", "inner/cpu.max": "200000 100000"}
    assert cgroups.processors(system([(TWO, "/docker/f00")], own, files)) == 2
    assert cgroups.processors(system([(TWO, "/docker/other")], own, files)) == 4
    assert cgroups.processors(system([(TWO, "/")], "0::/../elsewhere\n", files)) == 4


def test_both_versions_at_once(system):
    files = {"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000", "cpu.max": "max 100000"}
    assert cgroups.processors(system([(ONE, "/"), (TWO, "/")], "1:cpu:/\n0::/\n", files)) == 3


def test_paths_with_spaces(system):
    assert cgroups.processors(system([(TWO, "/")], "0::/\n", {"cpu.max": "50000 100000"}, "a b")) == 0.5


@pytest.mark.parametrize("name", ["a:b", "line\u2028separator", "\x1c\x85", "job (deleted)"])
def test_odd_names_of_groups(system, name):
    files = {"cpu.max": "max 100000", f"{name}/cpu.max": "250000 100000"}
    assert cgroups.processors(system([(TWO, "/")], f"0::/{name}\n", files)) == 2.5


@pytest.mark.parametrize("text", ["", "max", "a b", "1 0", "1 2 3"])
def test_what_is_no_limit(system, text):
    assert cgroups.processors(system([(TWO, "/")], "0::/\n", {"cpu.max": text})) == math.inf


def test_no_linux(tmp_path):
    assert cgroups.processors(tmp_path) == cgroups.memory(tmp_path) == math.inf


def test_memory(system, monkeypatch):
    files = {"memory.max": "max", "job/memory.max": str(3 << 28)}
    found = system([(TWO, "/")], "0::/job\n", files)
    assert cgroups.memory(found) == 3 << 28
    monkeypatch.setattr(cgroups.memory, "__defaults__", (found,))
    assert versions.memory().endswith(", 0.75 GiB granted by the control group")
    files = {"job/memory.limit_in_bytes": "9223372036854771712"}
    monkeypatch.setattr(cgroups.memory, "__defaults__", (system([(ONE_MEMORY, "/")], "4:memory:/job\n", files),))
    assert "granted" not in versions.memory()


def test_the_quota_bounds_the_default(system, monkeypatch):
    found = system([(TWO, "/")], "0::/job\n", {"job/cpu.max": "110000 100000"})
    monkeypatch.setattr(cgroups.processors, "__defaults__", (found,))
    monkeypatch.setattr(threads._core, "cpu_count", lambda: 8)
    assert threads.available_processors() == 2
