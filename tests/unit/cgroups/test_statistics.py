"""Files of cgroups as runc's numbers. Contents are as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

from boxes.cgroups.directory import Directory
from boxes.cgroups.legacy import Legacy
from boxes.cgroups.manager import Manager
from boxes.cgroups.statistics import collect
from boxes.cgroups.unified import Unified

V2 = {
    "cpu.stat": "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 7\nnr_throttled 3\nthrottled_usec 20\n",
    "cpu.pressure": "some avg10=0.00 avg60=1.50 avg300=0.00 total=77\n",
    "cpuset.cpus.effective": "0-2,5\n",
    "cpuset.mems.effective": "0\n",
    "memory.current": "4096\n",
    "memory.max": "8192\n",
    "memory.peak": "5000\n",
    "memory.swap.current": "100\n",
    "memory.swap.max": "max\n",
    "memory.stat": "anon 1\nfile 2\nkernel 3\nsock 4\n",
    "memory.events": "low 0\nhigh 0\nmax 6\noom 1\noom_kill 1\n",
    "pids.current": "5\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:16 \n",
}
V1 = {
    "cpuacct.usage": "1500000\n",
    "cpuacct.usage_percpu": "1000000 500000 \n",
    "cpuacct.usage_all": "cpu user system\n0 10 20\n1 30 40\n",
    "cpuacct.stat": "user 100\nsystem 50\n",
    "cpu.stat": "nr_periods 7\nnr_throttled 3\nthrottled_time 20\n",
    "cpuset.cpus": "0-1\n",
    "cpuset.mems": "0\n",
    "cpuset.sched_relax_domain_level": "-1\n",
    "memory.usage_in_bytes": "4096\n",
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.max_usage_in_bytes": "5000\n",
    "memory.failcnt": "6\n",
    "memory.stat": "cache 2\nrss 1\n",
    "pids.current": "5\n",
    "pids.max": "20\n",
    "blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 0\nTotal 10\n",
    "blkio.throttle.io_serviced_recursive": "8:0 Read 1\nTotal 1\n",
}


def of(tmp_path: Path, kind: type[Manager], files: dict[str, str], controllers: tuple[str, ...]) -> dict:
    (tmp_path / "c").mkdir()
    for name, text in files.items():
        (tmp_path / "c" / name).write_text(text)
    with kind([Directory(str(tmp_path), ["c"], controllers, 1)]) as manager:
        return collect(manager)


def test_v2(tmp_path: Path) -> None:
    found = of(tmp_path, Unified, V2, ())
    assert found["cpu"]["usage"] == {"total": 1500000, "kernel": 500000, "user": 1000000}
    assert found["cpu"]["throttling"] == {"periods": 7, "throttledPeriods": 3, "throttledTime": 20000}
    assert found["cpu"]["psi"] == {"some": {"avg10": 0, "avg60": 1.5, "avg300": 0, "total": 77}}
    assert found["cpuset"]["cpus"] == [0, 1, 2, 5]
    assert found["memory"]["usage"] == {"limit": 8192, "usage": 4096, "max": 5000, "failcnt": 6}
    assert found["memory"]["swap"] == {"limit": 2**64 - 1, "usage": 4196, "failcnt": 0}
    assert found["memory"]["cache"] == 2
    assert found["memory"]["raw"] == {"anon": 1, "file": 2, "kernel": 3, "sock": 4}
    assert found["pids"] == {"current": 5}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [
            {"major": 8, "op": "Read", "value": 10},
            {"major": 8, "op": "Write", "value": 20},
        ],
        "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 1}, {"major": 8, "op": "Write", "value": 2}],
    }


def test_v1(tmp_path: Path) -> None:
    controllers = ("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio")
    found = of(tmp_path, Legacy, V1, controllers)
    assert found["cpu"]["usage"] == {
        "total": 1500000,
        "percpu": [1000000, 500000],
        "percpu_kernel": [20, 40],
        "percpu_user": [10, 30],
        "kernel": 500000000,
        "user": 1000000000,
    }
    assert found["cpu"]["throttling"] == {"periods": 7, "throttledPeriods": 3, "throttledTime": 20}
    assert found["cpuset"]["cpus"] == [0, 1]
    assert found["cpuset"]["sched_relax_domain_level"] == -1
    assert found["memory"]["usage"] == {"limit": 9223372036854771712, "usage": 4096, "max": 5000, "failcnt": 6}
    assert found["memory"]["swap"] == {"limit": 0, "failcnt": 0}
    assert found["pids"] == {"current": 5, "limit": 20}
    assert found["blkio"]["ioServiceBytesRecursive"] == [
        {"major": 8, "op": "Read", "value": 10},
        {"major": 8, "op": "Write"},
    ]


def test_nothing_there_is_nothing_used(tmp_path: Path) -> None:
    found = of(tmp_path, Unified, {}, ())
    assert found["cpu"] == {"usage": {"kernel": 0, "user": 0}, "throttling": {}}
    assert found["memory"]["usage"] == {"limit": 0, "failcnt": 0}
    assert (found["pids"], found["blkio"], found["network_interfaces"]) == ({}, {}, None)
