/* How many threads a run has, of those that its work is worth: measured, since what a thread is worth depends on the load of
 * the machine.
 *
 * A new pace begins with a first look of a few milliseconds: where half as many threads are faster by far, it goes on with
 * these, as a network whose whole training is short would else end before the first trial. From then on steps run in
 * stretches. Most stretches keep the number of threads; now and then a stretch is a trial with half or double as
 * many, and the faster number stays. A trial that is not faster doubles the time to the next trial. A trial that looks faster
 * goes on for longer: beside busy processes a few milliseconds show who had a core, not which number is faster. Where steps
 * take longer or shorter than before at two consecutive looks, other processes have come or gone, and the next trial is due
 * at once. The time between two looks is longer than the few hundredths of a second for which the threads of a BLAS go on
 * spinning. */

#include <math.h>

#include "tuning.h"
#include "host/team.h"

/* What fnn_pace.warm says: nothing has run; the first step is over, and the first look is under way; that is over too. */
enum { FNN_COLD, FNN_FIRST_LOOK, FNN_LOOKED };

static double stretch_length(const fnn_pace *pace) {
    if (pace->warm == FNN_FIRST_LOOK) {
        return glance_seconds;
    }
    return pace->trial == 0 ? pace->patience : pace->trial == 1 ? trial_seconds : sure_seconds;
}

/* Ends a stretch of the first look. As long as half of the threads are faster by far than all, there is a next one. */
static void end_glance(fnn_pace *pace) {
    const double step = pace->spent / pace->steps;
    const int faster = pace->trial && step < glance_gain * pace->step;
    if (faster) {
        pace->level++;
        pace->direction = -1; /* soon more threads are tried again */
        pace->patience = glance_patience;
    }
    pace->steps = pace->spent = 0;
    pace->trial = !pace->trial || (faster && pace->threads >> (pace->level + 1) >= 1);
    pace->step = pace->trial ? step : 0;
    pace->warm = pace->trial ? FNN_FIRST_LOOK : FNN_LOOKED;
}

fnn_stretch fnn_next_stretch(fnn_pace *pace, int threads, size_t batch) {
    if (!pace || threads == 1) {
        return (fnn_stretch){threads, INFINITY};
    }
    if (pace->threads != threads || pace->batch != batch) {
        *pace = (fnn_pace){.batch = batch, .threads = threads, .direction = 1, .patience = first_patience};
    }
    if (!pace->warm) {
        return (fnn_stretch){threads, 0}; /* one step: it meets cold memory, so its time tells nothing */
    }
    const int change = pace->warm == FNN_FIRST_LOOK ? 1 : pace->direction;
    const int level = pace->level + (pace->trial ? change : 0);
    return (fnn_stretch){threads >> level, fmin(stretch_length(pace) - pace->spent, look_seconds)};
}

void fnn_end_stretch(fnn_pace *pace, int threads, double steps, double seconds) {
    if (!pace || threads == 1) {
        return;
    }
    if (!pace->warm) {
        pace->warm = FNN_FIRST_LOOK;
        return;
    }
    pace->steps += steps;
    pace->spent += seconds;
    if (pace->warm == FNN_FIRST_LOOK) {
        if (pace->steps >= 1 && pace->spent >= glance_seconds) {
            end_glance(pace);
        }
        return;
    }
    const double look = !pace->trial && steps >= 1 && seconds >= trial_seconds ? seconds / steps : 0;
    const int changed =
        look > 0 && pace->step > 0 && (look > change_ratio * pace->step || look * change_ratio < pace->step);
    pace->changes = changed ? pace->changes + 1 : 0;
    if (pace->changes == 2) {
        pace->changes = 0;
    } else if (pace->steps < 1 || pace->spent < stretch_length(pace)) {
        return; /* the stretch goes on, if need be in the next run */
    }
    /* After a change of the load, and after the first steps, which meet cold memory, the last look alone counts. */
    const int anew = look > 0 && (changed || pace->step == 0);
    const double step = anew ? look : pace->spent / pace->steps, spent = pace->spent;
    if (pace->trial == 1 && step < gain * pace->step) {
        pace->trial = 2;
        return;
    }
    pace->steps = pace->spent = 0;
    if (!pace->trial) {
        pace->step = step;
        const int level = pace->level + pace->direction;
        if (level < 0 || threads >> level < 1) {
            pace->direction = -pace->direction;
        }
    } else if (step < gain * pace->step) {
        pace->level += pace->direction;
        pace->step = step;
        pace->patience = fmax(first_patience, 2 * spent);
    } else {
        const double lost = spent * fmax(1 - pace->step / step, 0);
        pace->direction = -pace->direction;
        pace->patience = fmax(fmin(2 * pace->patience, most_patience), lost / lost_share);
    }
    pace->trial = !pace->trial;
}

/* ---- calls that are no run of steps ----
 *
 * A stretch is here several calls of about the same size. Each calling thread has paces of its own, as several threads may
 * use one predictor at once. */

typedef struct {
    fnn_pace pace;
    fnn_stretch stretch;   /* the one under way; none where its number of threads is 0 */
    double calls, seconds; /* that it has had so far */
} call_pace;

static _Thread_local call_pace call_paces[FNN_PACED_CALLS];

fnn_paced_call fnn_begin_call(const void *owner, int kind, size_t rows, int threads) {
    size_t size = 0; /* floor(log2(rows)): calls whose numbers of rows share it count as alike */
    while (threads > 1 && rows >> size > 1) {
        size++;
    }
    const size_t key = ((size_t)(uintptr_t)owner / 16 * 64 + (size_t)kind) * 64 + size;
    fnn_paced_call call = {.threads = threads, .most = threads, .key = key % 1000003};
    if (threads > 1) {
        call_pace *own = &call_paces[call.key % FNN_PACED_CALLS];
        if (own->stretch.threads == 0 || own->pace.batch != call.key || own->pace.threads != threads) {
            own->stretch = fnn_next_stretch(&own->pace, threads, call.key);
            own->calls = own->seconds = 0;
        }
        call.threads = own->stretch.threads;
        call.started = fnn_seconds();
    }
    return call;
}

void fnn_end_call(const fnn_paced_call *call) {
    call_pace *own = &call_paces[call->key % FNN_PACED_CALLS];
    if (call->most > 1 && own->pace.batch == call->key && own->stretch.threads == call->threads) {
        own->calls++;
        own->seconds += fnn_seconds() - call->started;
        if (own->seconds >= own->stretch.seconds) {
            fnn_end_stretch(&own->pace, call->most, own->calls, own->seconds);
            own->stretch.threads = 0;
        }
    }
}
