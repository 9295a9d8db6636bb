/* Long loops that are no run of batches ask now and then whether to go on: the calling thread alone, through its progress. */

#ifndef FNN_WATCH_H
#define FNN_WATCH_H

#include "host/team.h"

typedef struct {
    const fnn_progress *progress; /* NULL: nobody is asked */
    double next;                  /* when */
} fnn_watch;

static inline fnn_watch watch_with(const fnn_progress *progress) {
    return (fnn_watch){progress, progress ? fnn_seconds() + progress->interval : 0};
}

/* 1 if it has been time to ask, and the answer was to stop. */
static inline int asks_to_stop(fnn_watch *watch) {
    if (!watch->progress || fnn_seconds() < watch->next) {
        return 0;
    }
    const int stops = watch->progress->function(watch->progress->context, 0, NULL);
    watch->next = fnn_seconds() + watch->progress->interval;
    return stops;
}

#endif
