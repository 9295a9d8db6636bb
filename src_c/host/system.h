/* What host/ and libfastnn ask of the operating system, by the same names on POSIX systems and on Windows: locks of threads
 * that sleep, the clock, threads that it may refuse, and forks. */
#ifndef FNN_SYSTEM_H
#define FNN_SYSTEM_H

#if defined(_WIN32)
/* A word each, as an SRWLOCK, a CONDITION_VARIABLE and an INIT_ONCE are: <windows.h> has too many names for a header. */
typedef struct {
    void *word;
} fnn_mutex, fnn_condition, fnn_once_flag;
#define FNN_ONCE {0}
#else
#include <pthread.h>
typedef pthread_mutex_t fnn_mutex;
typedef pthread_cond_t fnn_condition;
typedef pthread_once_t fnn_once_flag;
#define FNN_ONCE PTHREAD_ONCE_INIT
#endif

void fnn_mutex_init(fnn_mutex *mutex);
void fnn_mutex_destroy(fnn_mutex *mutex);
void fnn_lock(fnn_mutex *mutex);
void fnn_unlock(fnn_mutex *mutex);

void fnn_condition_init(fnn_condition *condition);
void fnn_condition_destroy(fnn_condition *condition);
/* Gives the lock back, sleeps until somebody wakes the condition (or now and then for no reason), and takes the lock again. */
void fnn_sleep_until_woken(fnn_condition *condition, fnn_mutex *mutex);
void fnn_wake_all(fnn_condition *condition);

/* Calls the function at the first call of all with this flag; every call returns once that has ended. */
void fnn_call_once(fnn_once_flag *flag, void (*function)(void));

double fnn_seconds(void); /* of a monotonic clock */

/* Sleeps for about a tenth of a millisecond, on Windows for a tick of its clock. */
void fnn_doze(void);

/* The calling thread, as Python numbers threads. */
unsigned long fnn_this_thread(void);

/* From now on `before` is called ahead of every fork of this process, and `in_child` in each child. Windows has no forks. */
void fnn_at_fork(void (*before)(void), void (*in_child)(void));

/* The number of threads that the system grants now, at most `threads`, the calling one among them. */
int fnn_obtainable_threads(int threads);

#endif
