/* A long loop that is no run of batches asks now and then whether it is to go on. The thread that made the call asks, by
 * calling the fnn_progress that it was given. */

#ifndef FNN_WATCH_H
#define FNN_WATCH_H

#include "host/team.h"

typedef struct {
    const fnn_progress *progress; /* NULL: the loop cannot be stopped */
    double next;                  /* the time of the next question, by fnn_seconds */
} fnn_watch;

static inline fnn_watch watch_with(const fnn_progress *progress) {
    return (fnn_watch){progress, progress ? fnn_seconds() + progress->interval : 0};
}

/* 1 if it was time to ask and the answer was to stop; 0 if the loop is to go on. */
static inline int asks_to_stop(fnn_watch *watch) {
    if (!watch->progress || fnn_seconds() < watch->next) {
        return 0;
    }
    const int stops = watch->progress->function(watch->progress->context, 0, NULL);
    watch->next = fnn_seconds() + watch->progress->interval;
    return stops;
}

#endif
