# From the descriptions in Python to the structs of fastnn.h. Part of _engine.pyx.

from itertools import chain
from operator import attrgetter

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastnn._c cimport (
    FNN_BIAS, FNN_KERNEL, FNN_NUMBERS, FNN_OP_UNSCALE, fnn_course, fnn_fuses, fnn_head, fnn_head_terms,
    fnn_hyperparameters, fnn_measure, fnn_model, fnn_modes_of, fnn_op, fnn_parameter_settings, fnn_schedule,
    fnn_scheduled, fnn_state_size,
)

MAX_STATE = 2**27  # most numbers of a metric: a gibibyte


cdef int _set_schedule(fnn_schedule *target, schedule) except -1:
    """Fill in a schedule from a fastnn._op.Schedule, which must outlive it."""
    cdef bytes boundaries = schedule.boundaries, values = schedule.values
    target.code, target.shares = _number("schedule", schedule.name), schedule.shares
    for k, number in enumerate(schedule.numbers):
        target.numbers[k] = number
    target.boundaries, target.values = <const double *><const char *>boundaries, <const double *><const char *>values
    target.pieces = len(boundaries) // sizeof(double)
    return 0


cdef int _set_hyperparameters(fnn_hyperparameters *optimizer, int code, hyperparameters) except -1:
    """Fill in hyperparameters from a fastnn.optimizers.Hyperparameters, which must outlive the run."""
    optimizer.code = code
    for k, number in enumerate(hyperparameters.numbers):
        if k < FNN_NUMBERS:
            optimizer.numbers[k] = number
    _set_schedule(&optimizer.schedule, hyperparameters.schedule)
    _set_schedule(&optimizer.weight_decay, hyperparameters.weight_decay)
    optimizer.clipvalue = hyperparameters.clipvalue
    optimizer.clipnorm, optimizer.global_clipnorm = hyperparameters.clipnorm, hyperparameters.global_clipnorm
    optimizer.accumulation_steps = hyperparameters.accumulation_steps
    optimizer.ema_momentum = hyperparameters.ema_momentum
    optimizer.ema_overwrite_frequency = hyperparameters.ema_overwrite_frequency
    return 0


def scheduled(schedule, course, int64_t step):
    """Return the number of a fastnn._op.Schedule at `step` of the course, see :mod:`fastnn.optimizers.schedules`."""
    cdef fnn_schedule filled
    cdef fnn_course of
    memset(&filled, 0, sizeof(fnn_schedule))
    _set_schedule(&filled, schedule)
    of.first, of.steps = course
    return fnn_scheduled(&filled, of, step)


cdef int _mode(int code, str name) except -1:
    """Return the number that C has for a mode of an op with this code; 0 for the op without modes."""
    cdef const char *modes = fnn_modes_of(code)
    if modes == NULL:
        if name:
            raise ValueError(f"the engine has no mode {name!r} of an op without modes")
        return 0
    return _number(modes.decode(), name) if name else 0


cdef int _set_ops(fnn_op *ops, plan_ops, const double *vector, fnn_schedule *schedules) except -1:
    """Fill in ops from the plan's, which must outlive them, and a schedule for each op.

    `vector` holds the vectors of all of them in turn; it and the schedules must outlive the ops too.
    """
    for k, op in enumerate(plan_ops):
        if op.inputs < 1 or op.outputs < 1:  # sizes are divided by these widths
            raise ValueError(f"ops[{k}] must have at least 1 input and 1 output, got {op.inputs} and {op.outputs}")
        # Fields are set one by one: a struct made as a whole would keep what the stack held in the fields not named.
        ops[k].code, ops[k].activation = _number("op", op.name), _number("activation", op.activation)
        ops[k].mode = _mode(ops[k].code, op.mode)
        if op.schedule is not None:
            _set_schedule(&schedules[k], op.schedule)
            ops[k].schedule = &schedules[k]
        ops[k].kernel, ops[k].bias = op.kernel, op.bias
        ops[k].inputs, ops[k].outputs = op.inputs, op.outputs
        for j, number in enumerate(op.numbers):
            ops[k].numbers[j] = number
        ops[k].vector, ops[k].vector_size = vector, len(op.vector)
        vector += len(op.vector)
        ops[k].mean, ops[k].variance, ops[k].seed = op.mean, op.variance, op.seed
        ops[k].input, ops[k].first, ops[k].source = op.input, op.first, op.source
        ops[k].join, ops[k].column = op.join, op.column
    _set_training(ops, plan_ops)
    return 0


cdef int _set_training(fnn_op *ops, plan_ops) except -1:
    """Fill in what the plan's ops say of training: whether each is frozen, and the penalty of its output."""
    for k, op in enumerate(plan_ops):
        ops[k].frozen = op.frozen
        ops[k].l1, ops[k].l2 = op.activity or (0.0, 0.0)
    return 0


cdef int _set_parameter_settings(fnn_parameter_settings *target, plan, parameter_settings) except -1:
    """Fill in how each of the plan's parameters is trained; op k has places 2 k + FNN_KERNEL and 2 k + FNN_BIAS."""
    places = {op.kernel: 2 * k + FNN_KERNEL for k, op in enumerate(plan.ops)}
    places |= {op.bias: 2 * k + FNN_BIAS for k, op in enumerate(plan.ops)}
    for spec, settings in zip(plan.parameters, parameter_settings):
        place = places.get(spec.offset, -1)
        if place >= 0:  # other parameters are statistics, which no optimizer changes
            low, high, rate = settings.norm
            target[place] = fnn_parameter_settings(
                settings.multiplier, settings.decay, settings.l1, settings.l2, settings.cosines[0],
                settings.cosines[1], settings.second, _number("constraint", settings.constraint), low, high, rate)
    return 0


def _constants_of(heads):
    """Return the vectors of all heads, then those of all measures."""
    vectors = list(map(attrgetter("vector"), heads))
    for head in heads:
        vectors.extend(map(attrgetter("vector"), head.measures))
    return np.array(list(chain.from_iterable(vectors)), np.float64)


def _first_state(heads):
    """Return where the numbers of measures begin in the sums: behind the loss, and each of several heads' losses."""
    return 1 if len(heads) == 1 else 1 + len(heads)


cdef int _set_heads(fnn_head *target, fnn_head_terms *terms, fnn_op *ops, const fnn_model *model, heads,
                    const double *vector) except -1:
    """Fill in heads and the engine's terms for them from fastnn._head.Heads; `ops` are the model's.

    `vector`, _constants_of the heads, and the heads of Python must outlive what is filled in.
    """
    cdef size_t column = 0, target_column = 0, label = 0, h, op
    for head in heads:
        measured = any(measure.metric != "function_metric" for measure in head.measures)
        if measured and head.target_columns not in (0, head.columns):
            raise ValueError(f"metrics need targets shaped like the output, but this loss takes "
                             f"{head.target_columns} target columns for {head.columns} outputs")
    for op in range(model.op_count):
        ops[op].fused = 0
    for h, head in enumerate(heads):
        op = head.op if head.op >= 0 else model.op_count - 1
        target[h].loss, target[h].reduction = _number("loss", head.loss), _number("reduction", head.reduction)
        target[h].weight = head.weight
        target[h].first, target[h].columns, target[h].label = column, head.columns, label
        target[h].target_first, target[h].target_columns = target_column, head.target_columns
        if head.smoothing is not None:
            _set_schedule(&terms[h].smoothing, head.smoothing)
        terms[h].scaling = -1
        target[h].fused = ops[op].fused = fnn_fuses(model, &ops[op], target[h].loss)
        if ops[op].code == FNN_OP_UNSCALE:
            terms[h].scaling, ops[op].fused = op, 1
        for k, number in enumerate(head.numbers):
            target[h].numbers[k] = number
        target[h].vector, target[h].vector_size = vector, len(head.vector)
        vector += len(head.vector)
        column += head.columns
        target_column += head.target_columns
        label += 0 if head.target_columns else 1
    return 0


cdef tuple _set_measures(fnn_measure *target, const fnn_head *c_heads, heads, const double *vector):
    """Fill in the measures of heads that are set, as for _set_heads; return a slice of the sums for each."""
    cdef size_t state = _first_state(heads), m = 0, h
    cdef size_t skipped = sum(len(head.vector) for head in heads)
    vector += skipped
    states = []
    for h, head in enumerate(heads):
        for measure in head.measures:
            target[m].metric = _number("metric", measure.metric)
            target[m].weighted, target[m].head_index = measure.weighted, h
            target[m].head = c_heads[h]
            target[m].head.loss = _number("loss", measure.loss) if measure.loss else 0
            target[m].head.fused = 0
            memset(target[m].head.numbers, 0, sizeof(target[m].head.numbers))
            for k, number in enumerate(measure.numbers):
                target[m].head.numbers[k] = number
            target[m].head.vector, target[m].head.vector_size = vector, len(measure.vector)
            vector += len(measure.vector)
            target[m].state = state
            target[m].state_size = fnn_state_size(&target[m])
            if target[m].state_size > MAX_STATE:
                raise ValueError(f"a metric would keep more than {MAX_STATE} counts: give it fewer thresholds or "
                                 f"classes")
            states.append(slice(state, state + target[m].state_size))
            state += target[m].state_size
            m += 1
    return tuple(states)
