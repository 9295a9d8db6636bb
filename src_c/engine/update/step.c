/* What changes from one optimizer step to the next: schedules, constants of noise and of the rules, all in double. */

#include <math.h>
#include <string.h>

#include "fastnn.h"

static const double pi = 3.14159265358979323846;

/* (1 + cos(pi share)) / 2: from 1 at share = 0 to 0 at share = 1. */
static double half_cosine(double share) {
    return 0.5 * (1 + cos(pi * share));
}

/* n: initial rate, decay steps, alpha, warm-up target, warm-up steps, end; a target below 0 is none; with 0 decay steps the
 * decay ends at the end (Loshchilov and Hutter 2017).
 *     warm-up    from the initial rate to the target in a straight line
 *     decay      from the target, or without a warm-up the initial rate, to alpha times it along half a cosine wave */
static double cosine_decay(const double *n, double step) {
    const double top = n[3] < 0 ? n[0] : n[3], warmup = n[3] < 0 ? 0 : n[4];
    if (step < warmup) {
        return (n[3] - n[0]) * (step / warmup) + n[0];
    }
    const double length = n[1] > 0 ? n[1] : fmax(n[5] - warmup, 1);
    return top * ((1 - n[2]) * half_cosine(fmin(step - warmup, length) / length) + n[2]);
}

/* n: initial rate, first decay steps, t_mul, m_mul, alpha. Cycle i, counted from 0, lasts t_mul^i times the first decay steps
 * and starts at m_mul^i times the initial rate. */
static double cosine_decay_restarts(const double *n, double step) {
    double done = step / n[1], cycle;
    if (n[2] == 1) {
        cycle = floor(done);
        done -= cycle;
    } else {
        cycle = floor(log(1 - done * (1 - n[2])) / log(n[2]));
        const double before = (1 - pow(n[2], cycle)) / (1 - n[2]);
        done = (done - before) / pow(n[2], cycle);
    }
    return n[0] * ((1 - n[4]) * pow(n[3], cycle) * half_cosine(done) + n[4]);
}

/* (initial rate - end rate) (1 - step / length)^power + end rate, up to step = length, which is the decay steps; with
 * `cycle`, the next multiple of the decay steps. n: initial rate, decay steps, end rate, power, cycle. */
static double polynomial_decay(const double *n, double step) {
    const double length = n[4] == 0 ? n[1] : n[1] * fmax(1, ceil(step / n[1]));
    return (n[0] - n[2]) * pow(1 - fmin(step, length) / length, n[3]) + n[2];
}

/* From the initial rate to the greatest, then to the last, each along half a cosine wave (Smith and Topin 2018). n: initial
 * rate, greatest rate, last rate, steps of the rise, steps of the fall. */
static double one_cycle(const double *n, double step) {
    if (step < n[3]) {
        return n[1] + (n[0] - n[1]) * half_cosine(step / n[3]);
    }
    return n[2] + (n[1] - n[2]) * half_cosine(n[4] > 0 ? fmin((step - n[3]) / n[4], 1) : 1);
}

/* The value up to half of the steps, then along half a cosine wave to 0. n: value, steps. */
static double flat_cosine(const double *n, double step) {
    return n[0] * half_cosine(fmax(2 * fmin(step / n[1], 1) - 1, 0));
}

/* value / 2 (1 - cos(2 pi log2(1 + (2^cycles - 1) step / steps))): waves from 0 to the value and back, each about twice as long
 * as the last. n: value, steps, cycles. */
static double cosine_log(const double *n, double step) {
    return n[0] * half_cosine(2 * log2(1 + (exp2(n[2]) - 1) * fmin(step / n[1], 1)) + 1);
}

/* unit: the number of steps that a boundary of 1 stands for. */
static double piecewise_constant_decay(const fnn_schedule *schedule, double step, double unit) {
    size_t piece = 0;
    while (piece < schedule->pieces && step > schedule->boundaries[piece] * unit) {
        piece++;
    }
    return schedule->values[piece];
}

double fnn_scheduled(const fnn_schedule *schedule, fnn_course course, int64_t step) {
    double n[6], at = (double)step, unit = 1;
    memcpy(n, schedule->numbers, sizeof n);
    if (schedule->shares) {
        unit = fmax((double)course.steps, 1);
        at = fmin(fmax((double)(step - course.first), 0), (double)course.steps);
    }
    for (unsigned k = 0; k < 6; k++) {
        n[k] *= schedule->shares >> k & 1 ? unit : 1;
    }
    switch (schedule->code) {
        case FNN_EXPONENTIAL_DECAY: /* numbers of this and the next: initial rate, decay steps, decay rate, staircase */
            return n[0] * pow(n[2], n[3] != 0 ? floor(at / n[1]) : at / n[1]);
        case FNN_INVERSE_TIME_DECAY:
            return n[0] / (1 + n[2] * (n[3] != 0 ? floor(at / n[1]) : at / n[1]));
        case FNN_PIECEWISE_CONSTANT_DECAY:
            return piecewise_constant_decay(schedule, at, unit);
        case FNN_POLYNOMIAL_DECAY:
            return polynomial_decay(n, at);
        case FNN_COSINE_DECAY:
            return cosine_decay(n, at);
        case FNN_COSINE_DECAY_RESTARTS:
            return cosine_decay_restarts(n, at);
        case FNN_ONE_CYCLE:
            return one_cycle(n, at);
        case FNN_FLAT_COSINE:
            return flat_cosine(n, at);
        case FNN_COSINE_LOG:
            return cosine_log(n, at);
        default: /* FNN_CONSTANT */
            return n[0];
    }
}

/* ---- noise ---- */

void fnn_noise_numbers(const fnn_op *op, const fnn_run *run, double numbers[4]) {
    const double *n = op->numbers;
    const double rate = op->schedule ? fnn_scheduled(op->schedule, run->course, run->iterations) : n[0];
    memset(numbers, 0, 4 * sizeof *numbers);
    numbers[0] = rate;
    if (op->mode == FNN_DROPOUT) {
        numbers[1] = 1 / (1 - rate);
    } else if (op->mode == FNN_ALPHA_DROPOUT) { /* mean 0 and variance 1 stay (Klambauer et al. 2017) */
        const double a = pow((1 - rate) * (1 + rate * n[1] * n[1]), -0.5), b = -a * n[1] * rate;
        numbers[1] = a;
        numbers[2] = b;
        numbers[3] = a * n[1] + b;
    } else if (op->mode == FNN_GAUSSIAN_DROPOUT) {
        numbers[0] = 0;
        numbers[1] = sqrt(rate / (1 - rate));
    }
}

/* ---- the constants of the rules ----
 *
 * A function a rule: from h, the numbers of the optimizer's Python class, to step->numbers as optimizer.inc calls them, and
 * the bias correction in step->rate. t: the number of the update, from 1 on. */

/* h: momentum. */
static void sgd_momentum(fnn_step *step, const double *h, double t) {
    (void)t;
    step->numbers[0] = h[0];
}

/* h: beta_1, beta_2, epsilon. */
static void adam(fnn_step *step, const double *h, double t) {
    step->numbers[0] = 1 - h[0];
    step->numbers[1] = 1 - h[1];
    step->numbers[2] = h[2];
    step->rate *= sqrt(1 - pow(h[1], t)) / (1 - pow(h[0], t));
}

/* h: as Adam's. */
static void nadam(fnn_step *step, const double *h, double t) {
    const double u = h[0] * (1 - 0.5 * pow(0.96, t)), next = h[0] * (1 - 0.5 * pow(0.96, t + 1));
    step->momentum_product *= u;
    step->numbers[0] = 1 - h[0];
    step->numbers[1] = 1 - h[1];
    step->numbers[2] = h[2];
    step->numbers[3] = next / (1 - step->momentum_product * next);
    step->numbers[4] = (1 - u) / (1 - step->momentum_product);
    step->numbers[5] = 1 / (1 - pow(h[1], t));
}

/* h: as Adam's. */
static void adamax(fnn_step *step, const double *h, double t) {
    step->numbers[0] = 1 - h[0];
    step->numbers[1] = h[1];
    step->numbers[2] = h[2];
    step->rate /= 1 - pow(h[0], t);
}

/* h: rho, epsilon, momentum. */
static void rmsprop(fnn_step *step, const double *h, double t) {
    (void)t;
    step->numbers[0] = h[0];
    step->numbers[1] = 1 - h[0];
    step->numbers[2] = h[1];
    step->numbers[3] = h[2];
}

/* h: epsilon. */
static void adagrad(fnn_step *step, const double *h, double t) {
    (void)t;
    step->numbers[0] = h[0];
}

/* h: rho, epsilon. */
static void adadelta(fnn_step *step, const double *h, double t) {
    (void)t;
    step->numbers[0] = h[0];
    step->numbers[1] = 1 - h[0];
    step->numbers[2] = h[1];
}

/* h: beta_1, beta_2. */
static void lion(fnn_step *step, const double *h, double t) {
    (void)t;
    step->numbers[0] = h[0];
    step->numbers[1] = 1 - h[0];
    step->numbers[2] = h[1];
    step->numbers[3] = 1 - h[1];
}

/* h: beta_2_decay, epsilon_1, epsilon_2, clip_threshold. */
static void adafactor(fnn_step *step, const double *h, double t) {
    step->numbers[0] = 1 - pow(t, h[0]);
    step->numbers[1] = h[1];
    step->numbers[2] = h[2];
    step->numbers[3] = h[3];
    step->rate = fmin(step->rate, 1 / sqrt(t));
}

/* h: the seven constants of muon.inc, then beta_1, beta_2, epsilon, rate ratio and decay of Adam. */
static void muon(fnn_step *step, const double *h, double t) {
    (void)t;
    for (int k = 0; k < 7; k++) {
        step->numbers[k] = h[k];
    }
}

/* NULL: the rule has no constants. */
static void (*const set_constants[])(fnn_step *step, const double *h, double t) = {
    [FNN_SGD] = NULL,
    [FNN_SGD_MOMENTUM] = sgd_momentum,
    [FNN_SGD_NESTEROV] = sgd_momentum,
    [FNN_ADAM] = adam,
    [FNN_ADAM_AMSGRAD] = adam,
    [FNN_NADAM] = nadam,
    [FNN_ADAMAX] = adamax,
    [FNN_RMSPROP] = rmsprop,
    [FNN_RMSPROP_MOMENTUM] = rmsprop,
    [FNN_RMSPROP_CENTERED] = rmsprop,
    [FNN_RMSPROP_CENTERED_MOMENTUM] = rmsprop,
    [FNN_ADAGRAD] = adagrad,
    [FNN_ADADELTA] = adadelta,
    [FNN_LION] = lion,
    [FNN_ADAFACTOR] = adafactor,
    [FNN_MUON] = muon,
};

/* As in Keras, a schedule counts every step, a bias correction counts only the steps that update, and the average moves at
 * every step; the first average is the parameters themselves. */
fnn_step fnn_begin_step(const fnn_run *run) {
    const fnn_hyperparameters *h = &run->optimizer;
    const int64_t every = h->accumulation_steps > 1 ? h->accumulation_steps : 1;
    const int64_t updates = run->iterations / every, done = run->iterations + 1;
    const int applies = done % every == 0;
    fnn_step step = {.rule = h->code, .rate = fnn_scheduled(&h->schedule, run->course, run->iterations)};
    step.decay = fnn_scheduled(&h->weight_decay, run->course, run->iterations) * step.rate;
    step.clipvalue = h->clipvalue;
    step.gradient_scale = applies ? 1.0 / (double)every : 0;
    step.ema_momentum = updates ? h->ema_momentum : 0;
    step.overwrites = h->ema_overwrite_frequency && (updates + 1) % h->ema_overwrite_frequency == 0;
    step.momentum_product = run->momentum_product;
    step.plain = every == 1 && step.decay == 0 && step.clipvalue == 0;
    if (run->passes & FNN_UPDATE && applies && set_constants[step.rule]) {
        set_constants[step.rule](&step, h->numbers, (double)(updates + 1));
    }
    return step;
}

fnn_step fnn_begin_second_step(const fnn_run *run) {
    const double *h = run->optimizer.numbers;
    fnn_run adam = *run;
    adam.optimizer.code = FNN_ADAM;
    adam.optimizer.weight_decay = (fnn_schedule){.code = FNN_CONSTANT, .numbers = {h[11]}};
    for (int k = 0; k < 3; k++) {
        adam.optimizer.numbers[k] = h[7 + k];
    }
    fnn_step step = fnn_begin_step(&adam);
    step.rate *= h[10];
    return step;
}
