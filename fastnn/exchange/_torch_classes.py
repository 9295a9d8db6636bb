"""Small modules in PyTorch, as text, for layers that have no twin among PyTorch's own modules.

Parameters and buffers that are in a ``state_dict`` have the names and shapes of the layer's parameters. Constants are
buffers that are not in it: they stand in the text.
"""

from __future__ import annotations

CLASSES = {
    "Columns": '''class Columns(nn.Module):
    """Some of the columns go through a module; the others stay, or come first where it changes their number."""

    def __init__(self, module, taken, rest, in_place):
        super().__init__()
        self.module, self.taken, self.rest, self.in_place = module, taken, rest, in_place

    def forward(self, x):
        made = self.module(x[:, self.taken])
        if not self.in_place:
            return torch.cat([x[:, self.rest], made], 1)
        x = x.clone()
        x[:, self.taken] = made
        return x
''',
    "Residual": """class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)
""",
    "Branches": '''class Branches(nn.Module):
    """Each branch takes some of the columns, which lie side by side."""

    def __init__(self, widths, branches):
        super().__init__()
        self.widths, self.branches = widths, nn.ModuleList(branches)

    def forward(self, x):
        parts = x.split(self.widths, 1)
        return torch.cat([branch(part) for branch, part in zip(self.branches, parts)], 1)
''',
    "Heads": """class Heads(nn.Module):
    def __init__(self, names, heads):
        super().__init__()
        self.names, self.heads = names, nn.ModuleList(heads)

    def forward(self, x):
        return {name: head(x) for name, head in zip(self.names, self.heads)}
""",
    "Embedding": '''class Embedding(nn.Embedding):
    """Puts the vectors of all columns side by side."""

    def forward(self, x):
        return super().forward(x.long()).flatten(1)
''',
    "ClippedReLU": """class ClippedReLU(nn.Module):
    def __init__(self, slope, threshold, high):
        super().__init__()
        self.slope, self.threshold, self.high = slope, threshold, high

    def forward(self, x):
        low = self.slope * (x - self.threshold)
        return torch.where(x >= self.threshold, x.clamp(max=self.high), low)
""",
    "Exponential": """class Exponential(nn.Module):
    def forward(self, x):
        return x.exp()
""",
    "Cosine": """class Cosine(nn.Module):
    def forward(self, x):
        return x.cos()
""",
    "Squareplus": """class Squareplus(nn.Module):
    def __init__(self, b):
        super().__init__()
        self.b = b

    def forward(self, x):
        root = torch.hypot(x, x.new_tensor(self.b**0.5))
        return torch.where(x < 0, self.b / 2 / (root + x.abs()), x / 2 + root / 2)
""",
    "SmoothClip": """class SmoothClip(nn.Module):
    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def forward(self, x):
        x = x.clamp(-1e10 * self.limit, 1e10 * self.limit)
        return x / (1 + (x / self.limit) ** 2).sqrt()
""",
    "GatedUnit": """class GatedUnit(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.activation = activation

    def forward(self, x):
        a, b = x.chunk(2, -1)
        return a * self.activation(b)
""",
    "ParametricActivation": """class ParametricActivation(nn.Module):
    def __init__(self, features, activation):
        super().__init__()
        self.alpha, self.activation = nn.Parameter(torch.ones(features)), activation

    def forward(self, x):
        return x + self.alpha * (self.activation(x) - x)
""",
    "Scale": """class Scale(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(shape))

    def forward(self, x):
        return x * self.scale
""",
    "Rescaling": """class Rescaling(nn.Module):
    def __init__(self, scale, offset):
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x):
        return x * self.scale + self.offset
""",
    "GaussianNoise": """class GaussianNoise(nn.Module):
    def __init__(self, stddev):
        super().__init__()
        self.stddev = stddev

    def forward(self, x):
        return x + self.stddev * torch.randn_like(x) if self.training else x
""",
    "GaussianDropout": """class GaussianDropout(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.stddev = (rate / (1 - rate)) ** 0.5

    def forward(self, x):
        return x * (1 + self.stddev * torch.randn_like(x)) if self.training else x
""",
    "UnitNormalization": """class UnitNormalization(nn.Module):
    def forward(self, x):
        return x / ((x * x).sum(-1, keepdim=True) + 1e-24).sqrt()
""",
    "Normalization": """class Normalization(nn.Module):
    def __init__(self, features, invert):
        super().__init__()
        self.invert = invert
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))

    def forward(self, x):
        deviation = torch.where(self.variance > 0, self.variance.sqrt().clamp(min=1e-7), 1.0)
        return self.mean + x * deviation if self.invert else (x - self.mean) / deviation
""",
    "CenteredScale": """class CenteredScale(nn.Module):
    def __init__(self, center, factor):
        super().__init__()
        self.register_buffer("center", torch.tensor(center, dtype=torch.float64), persistent=False)
        self.register_buffer("factor", torch.tensor(factor, dtype=torch.float64), persistent=False)

    def forward(self, x):
        return (x - self.center) * self.factor
""",
    "QuantileNormalization": '''class QuantileNormalization(nn.Module):
    """What share of a column's data lies below a number, as a number of a normal distribution."""

    def __init__(self, knots):
        super().__init__()
        self.register_buffer("knots", torch.tensor(knots, dtype=torch.float64), persistent=False)

    def forward(self, x):
        return torch.stack([self.one(column.contiguous(), knots) for column, knots in zip(x.T, self.knots)], 1)

    def one(self, x, knots):
        last = len(knots) - 1
        below, through = torch.searchsorted(knots, x), torch.searchsorted(knots, x, right=True)
        low, high = knots[(below - 1).clamp(0, last)], knots[below.clamp(0, last)]
        between = below - 1 + (x - low) / torch.where(high > low, high - low, 1)
        place = torch.where(through > below, (below + through - 1) / 2, between).clamp(0, last)
        share = place / last if last else torch.where(through > below, 0.5, below.to(x.dtype))
        return torch.special.ndtri(share.double().clamp(1e-7, 1 - 1e-7)).to(x.dtype)
''',
    "Impute": """class Impute(nn.Module):
    def __init__(self, values, indicator):
        super().__init__()
        self.indicator = indicator
        self.register_buffer("values", torch.tensor(values, dtype=torch.float64), persistent=False)

    def forward(self, x):
        missing = x.isnan()
        filled = torch.where(missing, self.values, x)
        return torch.cat([filled, missing.to(x.dtype)], 1) if self.indicator else filled
""",
    "Discretization": """class Discretization(nn.Module):
    def __init__(self, boundaries):
        super().__init__()
        self.register_buffer("boundaries", torch.tensor(boundaries, dtype=torch.float64), persistent=False)

    def forward(self, x):
        return torch.bucketize(x, self.boundaries, right=True).to(x.dtype)
""",
    "CategoryEncoding": """class CategoryEncoding(nn.Module):
    def __init__(self, tokens, mode, dtype):
        super().__init__()
        self.tokens, self.mode, self.dtype = tokens, mode, dtype

    def forward(self, x):
        columns = nn.functional.one_hot(x.long(), self.tokens).to(self.dtype)
        if self.mode == "one_hot":
            return columns.flatten(1)
        return columns.amax(1) if self.mode == "multi_hot" else columns.sum(1)
""",
    "TargetScaling": '''class TargetScaling(nn.Module):
    """Outputs in the units of the targets, which outside training do not leave the targets' range."""

    def __init__(self, mean, deviation, low, high):
        super().__init__()
        for name, values in (("mean", mean), ("deviation", deviation), ("low", low), ("high", high)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64), persistent=False)

    def forward(self, x):
        y = self.mean + self.deviation * x
        return y if self.training else torch.minimum(torch.maximum(y, self.low), self.high)
''',
    "LinearEmbedding": """class LinearEmbedding(nn.Module):
    def __init__(self, columns, units, activation):
        super().__init__()
        self.kernel, self.bias = nn.Parameter(torch.zeros(columns, units)), nn.Parameter(torch.zeros(columns * units))
        self.activation = activation

    def forward(self, x):
        return self.activation((x.unsqueeze(-1) * self.kernel).flatten(1) + self.bias)
""",
    "GroupedLinear": '''class GroupedLinear(nn.Module):
    """A linear map of its own for each of several groups of columns, or one that they share."""

    def __init__(self, groups, inputs, units, shared, activation):
        super().__init__()
        self.groups, self.inputs, self.units, self.activation = groups, inputs, units, activation
        maps = 1 if shared else groups
        self.kernel = nn.Parameter(torch.zeros(maps * inputs, units))
        self.bias = nn.Parameter(torch.zeros(maps * units))

    def forward(self, x):
        x, kernel = x.unflatten(1, (self.groups, self.inputs)), self.kernel.unflatten(0, (-1, self.inputs))
        y = torch.einsum("rgi,giu->rgu", x, kernel.expand(self.groups, -1, -1))
        return self.activation(y + self.bias.unflatten(0, (-1, self.units))).flatten(1)
''',
    "PeriodicEmbedding": """class PeriodicEmbedding(GroupedLinear):
    def __init__(self, columns, frequencies, units, phases, dense, shared, activation):
        super().__init__(columns, frequencies if phases else 2 * frequencies, units, shared, activation)
        self.frequencies, self.dense = nn.Parameter(torch.zeros(columns, frequencies)), dense
        self.phases = nn.Parameter(torch.zeros(columns * frequencies)) if phases else None

    def forward(self, x):
        turns = 2 * torch.pi * x.unsqueeze(-1) * self.frequencies
        if self.phases is None:
            waves = torch.cat([turns.cos(), turns.sin()], -1)
        else:
            waves = (turns + self.phases.view_as(self.frequencies)).cos()
        made = super().forward(waves.flatten(1))
        return torch.cat([x, made], 1) if self.dense else made
""",
    "PiecewiseLinearEncoding": '''class PiecewiseLinearEncoding(nn.Module):
    """How far each number has come in each bin of its column; with `width` as many numbers for each column."""

    def __init__(self, edges, width, linear):
        super().__init__()
        self.edges, self.width, self.linear = edges, width, linear

    def forward(self, x):
        parts = []
        for column, values in zip(x.split(1, 1), self.edges):
            edge = torch.tensor(values, dtype=x.dtype, device=x.device)
            low, high = torch.zeros_like(edge[1:]), torch.ones_like(edge[1:])
            low[0], high[-1] = -torch.inf, torch.inf
            bins = torch.minimum(torch.maximum((column - edge[:-1]) / edge.diff(), low), high)
            if self.linear:
                bins = torch.cat([column, bins], 1)
            parts.append(nn.functional.pad(bins, (0, self.width - bins.shape[1])) if self.width else bins)
        return torch.cat(parts, 1)
''',
    "EnsembleScale": """class EnsembleScale(nn.Module):
    def __init__(self, members, inputs):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(members, inputs))

    def forward(self, x):
        return (x.unsqueeze(1) * self.scale).flatten(1)
""",
    "EnsembleDense": '''class EnsembleDense(nn.Module):
    """A linear map that members share, between factors of each member's own."""

    def __init__(self, members, inputs, units, activation):
        super().__init__()
        self.members, self.activation = members, activation
        self.scale_in = nn.Parameter(torch.ones(members * inputs))
        self.kernel = nn.Parameter(torch.zeros(inputs, units))
        self.scale_out = nn.Parameter(torch.ones(members * units))
        self.bias = nn.Parameter(torch.zeros(members * units))

    def forward(self, x):
        y = ((x * self.scale_in).unflatten(1, (self.members, -1)) @ self.kernel).flatten(1) * self.scale_out + self.bias
        return self.activation(y.unflatten(1, (self.members, -1))).flatten(1)
''',
    "EnsembleMean": """class EnsembleMean(nn.Module):
    def __init__(self, members):
        super().__init__()
        self.members = members

    def forward(self, x):
        return x.unflatten(1, (self.members, -1)).mean(1)
""",
}
# classes that another one is made of
NEEDS = {"PeriodicEmbedding": "GroupedLinear"}
