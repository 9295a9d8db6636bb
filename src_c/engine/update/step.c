/* What changes from one optimizer step to the next: the learning rate and the constants of the rules, all in double. */

#include <math.h>

#include "fastnn.h"

static const double pi = 3.14159265358979323846;

/* (1 + cos(pi share)) / 2: from 1 at share = 0 to 0 at share = 1. */
static double half_cosine(double share) {
    return 0.5 * (1 + cos(pi * share));
}

/* n: initial rate, decay steps, alpha, warm-up target, warm-up steps; a target below 0 is none (Loshchilov and Hutter 2017).
 *     warm-up    from the initial rate to the target in a straight line
 *     decay      from the target, or without a warm-up the initial rate, to alpha times it along half a cosine wave */
static double cosine_decay(const double *n, double step) {
    const double top = n[3] < 0 ? n[0] : n[3], warmup = n[3] < 0 ? 0 : n[4];
    if (step < warmup) {
        return (n[3] - n[0]) * (step / warmup) + n[0];
    }
    return top * ((1 - n[2]) * half_cosine(fmin(step - warmup, n[1]) / n[1]) + n[2]);
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

static double piecewise_constant_decay(const fnn_schedule *schedule, double step) {
    size_t piece = 0;
    while (piece < schedule->pieces && step > schedule->boundaries[piece]) {
        piece++;
    }
    return schedule->values[piece];
}

double fnn_learning_rate(const fnn_schedule *schedule, int64_t step) {
    const double *n = schedule->numbers, at = (double)step;
    switch (schedule->code) {
        case FNN_EXPONENTIAL_DECAY: /* numbers of this and the next: initial rate, decay steps, decay rate, staircase */
            return n[0] * pow(n[2], n[3] != 0 ? floor(at / n[1]) : at / n[1]);
        case FNN_INVERSE_TIME_DECAY:
            return n[0] / (1 + n[2] * (n[3] != 0 ? floor(at / n[1]) : at / n[1]));
        case FNN_PIECEWISE_CONSTANT_DECAY:
            return piecewise_constant_decay(schedule, at);
        case FNN_POLYNOMIAL_DECAY:
            return polynomial_decay(n, at);
        case FNN_COSINE_DECAY:
            return cosine_decay(n, at);
        case FNN_COSINE_DECAY_RESTARTS:
            return cosine_decay_restarts(n, at);
        case FNN_ONE_CYCLE:
            return one_cycle(n, at);
        default: /* FNN_CONSTANT */
            return n[0];
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
    fnn_step step = {.rule = h->code, .rate = fnn_learning_rate(&h->schedule, run->iterations)};
    step.decay = h->weight_decay * step.rate;
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
    adam.optimizer.weight_decay = h[11];
    for (int k = 0; k < 3; k++) {
        adam.optimizer.numbers[k] = h[7 + k];
    }
    fnn_step step = fnn_begin_step(&adam);
    step.rate *= h[10];
    return step;
}
