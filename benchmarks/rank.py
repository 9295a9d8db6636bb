"""What a rank of benchmarks/distributed.py does: measures the link, or trains by fastnn or by PyTorch's DDP.

Each rank has one thread. Rank 0 prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import workloads
from peers import Job


def least(once: Callable[[], Any], repeats: int, start: Callable[[], Any]) -> float:
    """Return the least seconds of several calls, which all ranks begin together; the first call is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        start()
        begun = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - begun)
    return min(seconds[1:])


def job_of(request: dict[str, Any]) -> Job:
    """Return the workload with its rows and weights; as many rows as the steps take."""
    workload = workloads.Workload.from_json(request["workload"])
    job = Job(workload, 1)
    job.x, job.y = workloads.make_data(workload)
    job.weights = workloads.make_weights(workload)
    return job


def link(request: dict[str, Any]) -> dict[str, float]:
    """Seconds of a short message, and bytes a second in long ones that go both ways at once."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    short, long = np.zeros(8, np.uint8), np.zeros((2, request["bytes"]), np.uint8)
    other, count = 1 - comm.rank, 200

    def ping() -> None:
        for _ in range(count):
            if comm.rank == 0:
                comm.Send(short, other)
            comm.Recv(short, other)
            if comm.rank == 1:
                comm.Send(short, other)

    latency = least(ping, 5, comm.Barrier) / (2 * count)
    many = max(1, request["total"] // request["bytes"])

    def exchange() -> None:
        for _ in range(many):
            comm.Sendrecv(long[0], other, recvbuf=long[1], source=other)

    both = least(exchange, 3, comm.Barrier) / many
    return {"latency": latency, "rate": request["bytes"] / (both - latency)}


def ours(request: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a step of fastnn, by the arguments of ``data_parallel``, and the loss that training ends at."""
    from mpi4py import MPI
    from peers import ours

    import fastnn

    comm = MPI.COMM_WORLD if request["ranks"] > 1 else MPI.COMM_SELF
    job = job_of(request)
    workload, found = job.workload, {}
    for name, arguments in request["ways"].items():
        model, begun, seconds = ours.build(job), [], []
        clock = fastnn.callbacks.LambdaCallback(
            on_epoch_begin=lambda *_, begun=begun: begun.append(time.perf_counter()),
            on_epoch_end=lambda *_, begun=begun, seconds=seconds: seconds.append(time.perf_counter() - begun[-1]),
        )
        fit = {"batch_size": workload.batch, "epochs": request["repeats"] + 1, "callbacks": clock, "verbose": 0}
        with fastnn.distributed.data_parallel(**arguments, comm=comm, num_threads=1):
            model.fit(job.x, job.y, **fit)
        found[name] = [
            min(seconds[1:]) / workload.steps,
            workloads.loss(workload, model.get_weights(), job.x[:2048], job.y[:2048]),
        ]
    return found


def ddp(request: dict[str, Any]) -> list[float]:
    """Seconds of a step of PyTorch's DistributedDataParallel over gloo, and the loss that training ends at."""
    import torch
    import torch.distributed as dist
    from peers import pytorch

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    job, rank, ranks = job_of(request), dist.get_rank(), dist.get_world_size()
    workload = job.workload
    network = pytorch.build(job, logits=True)
    # The fastest of four ways: without views, without a static graph, and with one bucket of 200 MB steps took longer.
    model = torch.nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True, static_graph=True)
    step = pytorch.stepper(job, model)
    x, y = torch.from_numpy(job.x), torch.from_numpy(job.y)
    generator = torch.Generator().manual_seed(7)  # the same order on each rank, which takes its part of each batch

    def epoch() -> None:
        for index in torch.randperm(workload.rows, generator=generator).split(workload.batch):
            own = index.tensor_split(ranks)[rank]
            step(x[own], y[own])

    seconds = least(epoch, request["repeats"], dist.barrier) / workload.steps
    loss = workloads.loss(workload, pytorch.read(network), job.x[:2048], job.y[:2048])
    dist.barrier()
    dist.destroy_process_group()
    return [seconds, loss]


def main() -> None:
    request = json.loads(sys.argv[1])
    answer = {"link": link, "ours": ours, "ddp": ddp}[request["task"]](request)
    if request["task"] == "ddp":
        import os

        first = os.environ["RANK"] == "0"
    else:
        from mpi4py import MPI

        first = MPI.COMM_WORLD.rank == 0
    if first:
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
