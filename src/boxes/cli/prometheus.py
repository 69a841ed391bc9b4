"""Samples in Prometheus' text exposition format, version 0.0.4: base units, counters that end in `_total`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from boxes.container.stats import Sample

    Labelled = Iterator[tuple[dict[str, str], float]]

_BYTES, _OPERATIONS = "ioServiceBytesRecursive", "ioServicedRecursive"


def text(samples: list[Sample]) -> str:
    lines = []
    for name, kind, help, values in _METRICS:
        found = [
            f"boxes_{name}{_labels({'id': sample.id} | labels)} {_number(value)}"
            for sample in samples
            if _COUNTED_BY.get(name.partition("_")[0], "") in sample.counted | {""}
            for labels, value in values(sample)
        ]
        if found:
            lines += [f"# HELP boxes_{name} {help}", f"# TYPE boxes_{name} {kind}", *found]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _state(sample: Sample) -> Labelled:
    yield {"status": sample.status}, 1


def _cpu(sample: Sample) -> Labelled:
    yield {}, sample.cpu


def _cpu_modes(sample: Sample) -> Labelled:
    for mode in ("user", "kernel"):
        yield {"mode": mode}, sample.data["cpu"]["usage"][mode] / 1e9


def _stops(name: str, unit: float) -> Callable[[Sample], Labelled]:
    def values(sample: Sample) -> Labelled:
        yield {}, sample.data["cpu"]["throttling"].get(name, 0) / unit

    return values


def _memory(name: str) -> Callable[[Sample], Labelled]:
    def values(sample: Sample) -> Labelled:
        if name in sample.data["memory"]["usage"]:
            yield {}, sample.data["memory"]["usage"][name]

    return values


def _memory_limit(sample: Sample) -> Labelled:
    if sample.memory_limit is not None:
        yield {}, sample.memory_limit


def _cache(sample: Sample) -> Labelled:
    yield {}, sample.data["memory"].get("cache", 0)


def _oom_kills(sample: Sample) -> Labelled:
    if sample.oom_kills is not None:
        yield {}, sample.oom_kills


def _pids(name: str) -> Callable[[Sample], Labelled]:
    def values(sample: Sample) -> Labelled:
        if name in sample.data["pids"]:
            yield {}, sample.data["pids"][name]

    return values


def _io(table: str) -> Callable[[Sample], Labelled]:
    def values(sample: Sample) -> Labelled:
        for entry in sample.data["blkio"].get(table, []):
            if entry.get("op") in ("Read", "Write"):
                device = f"{entry.get('major', 0)}:{entry.get('minor', 0)}"
                yield {"device": device, "operation": entry["op"].lower()}, entry.get("value", 0)

    return values


def _pressure(sample: Sample) -> Labelled:
    for resource, section in (("cpu", "cpu"), ("memory", "memory"), ("io", "blkio")):
        for kind, values in sample.data[section].get("psi", {}).items():
            yield {"resource": resource, "kind": kind}, values["total"] / 1e6


def _hugetlb(sample: Sample) -> Labelled:
    for size, entry in sample.data["hugetlb"].items():
        yield {"size": size}, entry.get("usage", 0)


# What a metric's name begins with, and the controller without which there is nothing to say.
_COUNTED_BY = {"cpu": "cpu", "memory": "memory", "pids": "pids", "io": "blkio"}
_METRICS: list[tuple[str, str, str, Callable[[Sample], Labelled]]] = [
    ("container_state", "gauge", "1 for the status that the container has.", _state),
    ("cpu_seconds_total", "counter", "CPU time used.", _cpu),
    ("cpu_mode_seconds_total", "counter", "CPU time used, by mode.", _cpu_modes),
    ("cpu_periods_total", "counter", "Periods of the CPU quota in which it ran.", _stops("periods", 1)),
    ("cpu_throttled_periods_total", "counter", "Periods in which the quota stopped it.", _stops("throttledPeriods", 1)),
    ("cpu_throttled_seconds_total", "counter", "Time for which the quota stopped it.", _stops("throttledTime", 1e9)),
    ("memory_usage_bytes", "gauge", "Memory in use, with the pages of files.", _memory("usage")),
    ("memory_peak_bytes", "gauge", "The most memory that has been in use.", _memory("max")),
    ("memory_limit_bytes", "gauge", "Limit of memory, if there is one.", _memory_limit),
    ("memory_cache_bytes", "gauge", "Pages of files.", _cache),
    ("memory_failures_total", "counter", "How often the limit was hit.", _memory("failcnt")),
    ("oom_kills_total", "counter", "Processes killed for want of memory.", _oom_kills),
    ("pids", "gauge", "Processes and threads.", _pids("current")),
    ("pids_limit", "gauge", "Limit of processes and threads, if there is one.", _pids("limit")),
    ("io_bytes_total", "counter", "Bytes read from and written to block devices.", _io(_BYTES)),
    ("io_operations_total", "counter", "Reads from and writes to block devices.", _io(_OPERATIONS)),
    ("pressure_stalled_seconds_total", "counter", "Time in which some or all tasks waited.", _pressure),
    ("hugetlb_usage_bytes", "gauge", "Huge pages in use, by their size.", _hugetlb),
]  # fmt: skip
