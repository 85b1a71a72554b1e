"""What a VM uses, and how fast."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import libvirt

from virtlease.pool.v1 import vm_inspection_pb2 as calls
from virtlease_pool.driver.commands.registry import Vm, on_vm

_MOST_SAMPLES = 10_000
_OLDEST_SECONDS = 3600.0
_ACTIVE = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED, libvirt.VIR_DOMAIN_PAUSED)
_GROUPS = (
    libvirt.VIR_DOMAIN_STATS_CPU_TOTAL
    | libvirt.VIR_DOMAIN_STATS_BALLOON
    | libvirt.VIR_DOMAIN_STATS_BLOCK
    | libvirt.VIR_DOMAIN_STATS_INTERFACE
)


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters of one VM at one moment of the monotonic clock, in seconds."""

    at: float
    counters: dict[str, int]


class Samples:
    """The last sample of each VM. Threads of several connections use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: OrderedDict[tuple[str, str], Sample] = OrderedDict()

    def replace(self, key: tuple[str, str], sample: Sample) -> Sample | None:
        """Keeps a sample and returns the one before it, unless that is too old to say anything of now."""
        with self._lock:
            former = self._last.pop(key, None)
            self._last[key] = sample
            if len(self._last) > _MOST_SAMPLES:
                self._last.popitem(last=False)
        return former if former and sample.at - former.at < _OLDEST_SECONDS else None


_samples = Samples()


@on_vm
def get_vm_stats(vm: Vm, request: calls.GetVmStatsRequest) -> calls.GetVmStatsResponse:
    response = calls.GetVmStatsResponse(vm_id=vm.vm_id)
    response.sample_time.GetCurrentTime()
    stats = _stats(vm)
    sample = Sample(time.monotonic(), {name: value for name, value in stats.items() if isinstance(value, int)})
    former = _samples.replace((vm.host.name, vm.domain.UUIDString()), sample)
    _fill(response, stats)
    if former is not None:
        add_rates(response, sample, former)
    return response


def add_rates(response: calls.GetVmStatsResponse, sample: Sample, former: Sample) -> None:
    """Fills the rates between two samples; none when the VM was started anew between them."""
    seconds = sample.at - former.at
    was_restarted = any(
        sample.counters.get(name, 0) < value for name, value in former.counters.items() if name == "cpu.time"
    )
    if seconds <= 0 or was_restarted:
        return
    response.interval.FromNanoseconds(round(seconds * 1e9))

    def rate(name: str) -> float | None:
        if name not in sample.counters or name not in former.counters:
            return None
        return max(0, sample.counters[name] - former.counters[name]) / seconds

    if (busy := rate("cpu.time")) is not None:
        response.cpu.busy_cpus = min(busy / 1e9, float(response.cpu.vcpus))
    for disk in response.disks:
        if (read := rate(f"block.{disk.target}.rd.bytes")) is not None:
            disk.read_bytes_per_second = read
        if (written := rate(f"block.{disk.target}.wr.bytes")) is not None:
            disk.written_bytes_per_second = written
    for interface in response.interfaces:
        if (received := rate(f"net.{interface.target}.rx.bytes")) is not None:
            interface.received_bytes_per_second = received
        if (sent := rate(f"net.{interface.target}.tx.bytes")) is not None:
            interface.sent_bytes_per_second = sent


def _fill(response: calls.GetVmStatsResponse, stats: dict[str, int]) -> None:
    response.cpu.time.FromNanoseconds(min(stats.get("cpu.time", 0), 2**63 - 1))
    response.cpu.vcpus = stats["vcpus"]
    memory = response.memory
    for field, name in (
        ("current_bytes", "balloon.current"),
        ("max_bytes", "balloon.maximum"),
        ("resident_bytes", "balloon.rss"),
        ("unused_bytes", "balloon.unused"),
    ):
        if name in stats:
            setattr(memory, field, stats[name] * 1024)
    for target in _targets(stats, "block"):
        value = _values(stats, f"block.{target}")
        response.disks.add(
            target=target,
            read_bytes=value("rd.bytes"),
            written_bytes=value("wr.bytes"),
            reads=value("rd.reqs"),
            writes=value("wr.reqs"),
        )
    for target in _targets(stats, "net"):
        value = _values(stats, f"net.{target}")
        response.interfaces.add(
            target=target,
            received_bytes=value("rx.bytes"),
            sent_bytes=value("tx.bytes"),
            received_packets=value("rx.pkts"),
            sent_packets=value("tx.pkts"),
        )


def _stats(vm: Vm) -> dict[str, int]:
    """Figures by libvirt's names, with the target in the place of a device's number."""
    state, max_memory, memory, vcpus, cpu_time = vm.domain.info()
    found = {"vcpus": vcpus, "cpu.time": cpu_time, "balloon.current": memory, "balloon.maximum": max_memory}
    if state not in _ACTIVE:
        return found
    ((_, told),) = vm.host.connection.domainListGetStats([vm.domain], _GROUPS)
    if "balloon.current" not in told:  # a driver that has the call, and answers almost nothing to it
        return {**found, **dict(_one_by_one(vm.domain))}
    for kind in ("block", "net"):
        for number in range(told.get(f"{kind}.count", 0)):
            prefix = f"{kind}.{number}."
            target = told[f"{prefix}name"]
            found.update(
                (f"{kind}.{target}.{name.removeprefix(prefix)}", value)
                for name, value in told.items()
                if name.startswith(prefix) and isinstance(value, int)
            )
    found.update((name, value) for name, value in told.items() if name.startswith(("cpu.", "balloon.")))
    return found


def _one_by_one(domain: libvirt.virDomain) -> Iterator[tuple[str, int]]:
    for name, value in domain.memoryStats().items():
        yield f"balloon.{name}", value
    root = ElementTree.fromstring(domain.XMLDesc())
    for target in _defined(root, "disk"):
        *values, _ = domain.blockStats(target)
        yield from _named(f"block.{target}", ("rd.reqs", "rd.bytes", "wr.reqs", "wr.bytes"), values)
    for target in _defined(root, "interface"):
        received, packets, _, _, sent, sent_packets, _, _ = domain.interfaceStats(target)
        names = ("rx.bytes", "rx.pkts", "tx.bytes", "tx.pkts")
        yield from _named(f"net.{target}", names, [received, packets, sent, sent_packets])


def _named(prefix: str, names: tuple[str, ...], values: Sequence[int]) -> Iterator[tuple[str, int]]:
    for name, value in zip(names, values, strict=True):
        yield f"{prefix}.{name}", value


def _defined(root: ElementTree.Element, device: str) -> list[str]:
    """The targets of the devices of one kind."""
    return [target.get("dev", "") for target in root.iterfind(f"devices/{device}/target") if target.get("dev")]


def _targets(stats: dict[str, int], kind: str) -> list[str]:
    return sorted({name.split(".")[1] for name in stats if name.startswith(f"{kind}.") and name.count(".") == 3})


def _values(stats: dict[str, int], prefix: str) -> Callable[[str], int]:
    return lambda name: stats.get(f"{prefix}.{name}", 0)
