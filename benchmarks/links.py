"""Two hosts in one machine: network namespaces with a cable between them that has a speed; this wants root."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

HOSTS = ("10.77.0.1", "10.77.0.2")  # of the two ends alone: no packet leaves the machine
NAMES = ("fastnn-rank-0", "fastnn-rank-1")  # of the namespaces
ENDS = ("fastnnveth0", "fastnnveth1")  # of the cable
# Bytes that may pass at once: more than a segment of 64 KiB, little enough for short messages to meet the limit too.
BURST = {1: 128 << 10, 10: 256 << 10}


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _remove() -> None:
    """Remove the namespaces, and the cable with them, where they are there."""
    for name in NAMES:
        subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)


@contextmanager
def cable(gigabits: int) -> Iterator[None]:
    """Two namespaces joined by a veth pair that a token bucket limits to so many Gbit/s each way; 0: no limit."""
    _remove()  # a run that was killed has left them
    try:
        for name in NAMES:
            _ip("netns", "add", name)
        _ip("link", "add", ENDS[0], "netns", NAMES[0], "type", "veth", "peer", "name", ENDS[1], "netns", NAMES[1])
        for name, end, host in zip(NAMES, ENDS, HOSTS, strict=True):
            _ip("-n", name, "addr", "add", f"{host}/24", "dev", end)
            for device in (end, "lo"):
                _ip("-n", name, "link", "set", device, "up")
            if gigabits:
                bucket = ["tbf", "rate", f"{gigabits}gbit", "burst", str(BURST[gigabits]), "latency", "100ms"]
                subprocess.run(["tc", "-n", name, "qdisc", "add", "dev", end, "root", *bucket], check=True)
        yield
    finally:
        _remove()


def inside(rank: int, command: Sequence[str]) -> list[str]:
    """Return a command that runs another one on a processor of its own in a namespace, with a host name of its own."""
    cpu = str(sorted(os.sched_getaffinity(0))[rank])
    named = ["unshare", "--uts", "sh", "-c", f'hostname rank{rank} && exec "$@"', "sh"]
    return ["taskset", "-c", cpu, "ip", "netns", "exec", NAMES[rank], *named, *command]


def by_mpi(mpirun: str, command: Sequence[str], seconds: float) -> str:
    """Run a command on both hosts by Open MPI over TCP; return what rank 0 prints."""
    with tempfile.TemporaryDirectory() as folder:
        agent = Path(folder) / "agent"  # stands for ssh: agent [options] host command
        reach = shlex.join(inside(1, ["sh", "-c"]))
        agent.write_text(f'#!/bin/bash\nwhile [[ "$1" == -* ]]; do shift; done\nshift\nexec {reach} "$*"\n')
        agent.chmod(agent.stat().st_mode | stat.S_IXUSR)
        net = HOSTS[0].rsplit(".", 1)[0] + ".0/24"
        options = ["--prtemca", "plm_ssh_agent", str(agent), "--prtemca", "prte_if_include", net]
        options += ["--mca", "btl", "tcp,self", "--mca", "btl_tcp_if_include", net, "--mca", "pml", "ob1"]
        options += ["--allow-run-as-root", "--bind-to", "none", "-x", "OMP_NUM_THREADS=1"]
        options += ["-x", "PYTHONPATH"] if "PYTHONPATH" in os.environ else []
        whole = [mpirun, *options, "--host", ",".join(f"{host}:1" for host in HOSTS), "-n", "2", *command]
        return subprocess.run(inside(0, whole), check=True, stdout=subprocess.PIPE, text=True, timeout=seconds).stdout


def by_hand(command: Sequence[str], environment: Mapping[str, str], seconds: float) -> str:
    """Run a command on both hosts, told by RANK which it is; return what rank 0 prints."""
    started = []
    for rank in range(2):
        told = os.environ | environment | {"RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
        told |= {"MASTER_ADDR": HOSTS[0], "MASTER_PORT": "29500", "GLOO_SOCKET_IFNAME": ENDS[rank]}
        started.append(subprocess.Popen(inside(rank, command), env=told, stdout=subprocess.PIPE, text=True))
    try:
        answers = [one.communicate(timeout=seconds)[0] for one in started]
    finally:
        for one in started:
            one.kill()
    if any(one.returncode for one in started):
        raise RuntimeError(f"{command[0]} ended with {[one.returncode for one in started]}")
    return answers[0]
