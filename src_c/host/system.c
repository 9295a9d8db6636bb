#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* the clock and the threads of POSIX, and the numbers of Linux's threads */
#endif
#include "host/system.h"

#if defined(_WIN32)

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

_Static_assert(sizeof(SRWLOCK) == sizeof(fnn_mutex) && sizeof(CONDITION_VARIABLE) == sizeof(fnn_condition) &&
                   sizeof(INIT_ONCE) == sizeof(fnn_once_flag),
               "Windows' locks are a word each");

void fnn_mutex_init(fnn_mutex *mutex) {
    InitializeSRWLock((SRWLOCK *)mutex);
}

void fnn_mutex_destroy(fnn_mutex *mutex) {
    (void)mutex;
}

void fnn_lock(fnn_mutex *mutex) {
    AcquireSRWLockExclusive((SRWLOCK *)mutex);
}

void fnn_unlock(fnn_mutex *mutex) {
    ReleaseSRWLockExclusive((SRWLOCK *)mutex);
}

void fnn_condition_init(fnn_condition *condition) {
    InitializeConditionVariable((CONDITION_VARIABLE *)condition);
}

void fnn_condition_destroy(fnn_condition *condition) {
    (void)condition;
}

void fnn_sleep_until_woken(fnn_condition *condition, fnn_mutex *mutex) {
    SleepConditionVariableSRW((CONDITION_VARIABLE *)condition, (SRWLOCK *)mutex, INFINITE, 0);
}

void fnn_wake_all(fnn_condition *condition) {
    WakeAllConditionVariable((CONDITION_VARIABLE *)condition);
}

static BOOL CALLBACK call(INIT_ONCE *flag, void *function, void **result) {
    void (*const *called)(void) = function;
    (void)flag;
    (void)result;
    (*called)();
    return TRUE;
}

void fnn_call_once(fnn_once_flag *flag, void (*function)(void)) {
    InitOnceExecuteOnce((INIT_ONCE *)flag, call, &function, NULL);
}

double fnn_seconds(void) {
    LARGE_INTEGER now, ticks_per_second;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&ticks_per_second);
    return (double)now.QuadPart / (double)ticks_per_second.QuadPart;
}

void fnn_doze(void) {
    Sleep(1);
}

unsigned long fnn_this_thread(void) {
    return GetCurrentThreadId();
}

void fnn_at_fork(void (*before)(void), void (*in_child)(void)) {
    (void)before;
    (void)in_child;
}

/* Windows limits the threads of a process by its memory alone. */
int fnn_obtainable_threads(int threads) {
    return threads;
}

#else

#include <sched.h>
#include <time.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "kernels/table.h" /* FNN_MAX_THREADS */

void fnn_mutex_init(fnn_mutex *mutex) {
    pthread_mutex_init(mutex, NULL);
}

void fnn_mutex_destroy(fnn_mutex *mutex) {
    pthread_mutex_destroy(mutex);
}

void fnn_lock(fnn_mutex *mutex) {
    pthread_mutex_lock(mutex);
}

void fnn_unlock(fnn_mutex *mutex) {
    pthread_mutex_unlock(mutex);
}

void fnn_condition_init(fnn_condition *condition) {
    pthread_cond_init(condition, NULL);
}

void fnn_condition_destroy(fnn_condition *condition) {
    pthread_cond_destroy(condition);
}

void fnn_sleep_until_woken(fnn_condition *condition, fnn_mutex *mutex) {
    pthread_cond_wait(condition, mutex);
}

void fnn_wake_all(fnn_condition *condition) {
    pthread_cond_broadcast(condition);
}

void fnn_call_once(fnn_once_flag *flag, void (*function)(void)) {
    pthread_once(flag, function);
}

double fnn_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void fnn_doze(void) {
    const struct timespec moment = {0, 50000}; /* the system takes about as much again to wake the thread */
    nanosleep(&moment, NULL);
}

unsigned long fnn_this_thread(void) {
    return (unsigned long)pthread_self();
}

void fnn_at_fork(void (*before)(void), void (*in_child)(void)) {
    pthread_atfork(before, NULL, in_child);
}

/* ---- threads that the system may refuse ---- */

typedef struct {
    pthread_mutex_t *gate;
    pthread_t thread;
    long number; /* the thread's number in the system, on Linux */
} trial_thread;

static void *wait_at_gate(void *context) {
    trial_thread *trial = context;
#if defined(__linux__)
    trial->number = syscall(SYS_gettid);
#endif
    pthread_mutex_lock(trial->gate);
    pthread_mutex_unlock(trial->gate);
    return NULL;
}

/* Waits until the system has forgotten the thread: for a moment after pthread_join it still counts against the limits of its
 * process. */
static void wait_until_gone(const trial_thread *trial) {
#if defined(__linux__)
    for (int k = 0; k < 1000 && syscall(SYS_tgkill, getpid(), trial->number, 0) == 0; k++) {
        sched_yield();
    }
#else
    (void)trial;
#endif
}

/* As many threads as are asked for are made here, and ended. Not inlined, so that the array of trials takes room on the stack
 * only while they run. */
__attribute__((noinline)) int fnn_obtainable_threads(int threads) {
    trial_thread trials[FNN_MAX_THREADS];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    int count = 0;
    pthread_mutex_lock(&gate);
    while (count < threads - 1) {
        trials[count] = (trial_thread){.gate = &gate};
        if (pthread_create(&trials[count].thread, NULL, wait_at_gate, &trials[count])) {
            break;
        }
        count++;
    }
    pthread_mutex_unlock(&gate);
    for (int k = 0; k < count; k++) {
        pthread_join(trials[k].thread, NULL);
    }
    for (int k = 0; k < count; k++) {
        wait_until_gone(&trials[k]);
    }
    pthread_mutex_destroy(&gate);
    return count + 1;
}

#endif
