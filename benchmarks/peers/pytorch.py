"""PyTorch: eager with the fused Adam, and through torch.compile."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from . import Inference, Job, Training, UnsupportedError

ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-7}


def version() -> str:
    return torch.__version__


KEPT: list[torch.inference_mode] = []  # what `infer` has entered


def build(job: Job, *, logits: bool) -> torch.nn.Sequential:
    while KEPT:  # this worker has predicted before
        KEPT.pop().__exit__(None, None, None)
    widths, layers = job.workload.widths, []
    for k, (fan_in, fan_out) in enumerate(itertools.pairwise(widths)):
        linear = torch.nn.utils.skip_init(torch.nn.Linear, fan_in, fan_out)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(job.weights[2 * k].T))
            linear.bias.copy_(torch.from_numpy(job.weights[2 * k + 1]))
        layers += [linear, torch.nn.ReLU()]
    last = {"softmax": [torch.nn.Softmax(dim=-1)], "sigmoid": [torch.nn.Sigmoid()], "linear": []}[job.workload.output]
    return torch.nn.Sequential(*layers[:-1], *([] if logits else last))


LOSSES = {
    "softmax": torch.nn.CrossEntropyLoss,
    "sigmoid": torch.nn.BCEWithLogitsLoss,
    "linear": torch.nn.MSELoss,
}


def stepper(job: Job, model: torch.nn.Sequential, rate: float = 1e-3):
    """A function that makes one step on a batch."""
    optimizer = torch.optim.Adam(model.parameters(), **{**ADAM, "lr": rate}, fused=True)
    criterion = LOSSES[job.workload.output]()

    def forward(x, y):
        return criterion(model(x), y)

    if job.options.get("compiled"):
        forward = torch.compile(forward, dynamic=False)
    narrow = job.workload.precision == "mixed_bfloat16"

    def step(x, y):
        optimizer.zero_grad(set_to_none=True)
        if narrow:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                value = forward(x, y)
        else:
            value = forward(x, y)
        value.backward()
        optimizer.step()

    return step


def passes(job: Job):
    """A function that yields the batches of one epoch."""
    x, y = torch.from_numpy(job.x), torch.from_numpy(job.y)
    batch, rows = job.workload.batch, job.workload.rows

    def batches():
        if not job.shuffle:
            yield from zip(x.split(batch), y.split(batch), strict=True)
            return
        for index in torch.randperm(rows).split(batch):
            yield x[index], y[index]

    return batches


def read(model: torch.nn.Sequential) -> list[np.ndarray]:
    return [p.detach().numpy().T.copy() for p in model.parameters()]


def train(job: Job) -> Training:
    torch.set_num_threads(job.threads)
    model = build(job, logits=True)
    step, batches = stepper(job, model), passes(job)

    def epoch():
        for x, y in batches():
            step(x, y)

    return Training(epoch, lambda: read(model))


def many(job: Job, members: list[list[np.ndarray]], rates: np.ndarray) -> Training:
    """One network after the other."""
    if job.options.get("compiled"):
        raise UnsupportedError("each of the networks would be compiled anew")
    torch.set_num_threads(job.threads)
    models, steps = [], []
    for weights, rate in zip(members, rates, strict=True):
        job.weights = weights
        models.append(build(job, logits=True))
        steps.append(stepper(job, models[-1], float(rate)))
    batches = passes(job)

    def epoch():
        for step in steps:
            for x, y in batches():
                step(x, y)

    return Training(epoch, lambda: [array for model in models for array in read(model)])


def infer(job: Job) -> Inference:
    torch.set_num_threads(job.threads)
    model = build(job, logits=False).eval()
    if job.options.get("compiled"):
        model = torch.compile(model, dynamic=False, options={"freezing": True})
    # For the whole life of the worker, as its name is kept: entering it for each call would count against the peer.
    guard = torch.inference_mode()
    guard.__enter__()
    KEPT.append(guard)
    return Inference(torch.from_numpy, model, lambda out: out.numpy())


def differentiable(job: Job) -> torch.nn.Sequential:
    """The network with weights that need no gradient."""
    torch.set_num_threads(job.threads)
    return build(job, logits=False).eval().requires_grad_(False)


def gradient(job: Job) -> Inference:
    model = differentiable(job)
    if job.options.get("compiled"):

        def summed(x):
            values = model(x)[:, 0]
            return values.sum(), values

        call = torch.compile(torch.func.grad_and_value(summed, has_aux=True), dynamic=False)
        return Inference(torch.from_numpy, call, lambda answer: answer[0].numpy())

    def call(x):
        values = model(x)[:, 0]
        return values, torch.autograd.grad(values.sum(), x)[0]

    return Inference(lambda x: torch.from_numpy(x).requires_grad_(), call, lambda answer: answer[1].numpy())


def jacobian(job: Job) -> Inference:
    model = differentiable(job)
    if job.options.get("compiled"):
        call = torch.compile(torch.func.jacrev(lambda x: (model(x),) * 2, has_aux=True), dynamic=False)
        return Inference(lambda x: torch.from_numpy(x[0]), call, lambda answer: answer[0].numpy())
    units = torch.eye(job.workload.widths[-1])

    def call(x):
        y = model(x)
        return y, torch.autograd.grad(y, x, units, is_grads_batched=True)[0]

    return Inference(lambda x: torch.from_numpy(x[0]).requires_grad_(), call, lambda answer: answer[1].numpy())


def adam(job: Job) -> Training:
    if job.options.get("compiled"):
        raise UnsupportedError("the fused step is one kernel already")
    torch.set_num_threads(job.threads)
    parameter = torch.nn.Parameter(torch.zeros(job.workload.parameters))
    parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.Adam([parameter], **ADAM, fused=True)
    return Training(optimizer.step, lambda: [parameter.detach().numpy()])
