#include "host/team.h"

#include "tuning.h"

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static inline void pause_briefly(void) {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Denormal numbers count as zero while a worker runs: Adam's slots and the outputs of dead units drift into their range,
 * where each operation takes about 100 cycles. */
#if defined(__x86_64__)
unsigned long fnn_flush_denormals(void) {
    const unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | 0x8040u); /* FTZ and DAZ */
    return mode;
}

void fnn_restore_mode(unsigned long mode) {
    /* The exception flags are restored too: the caller does not see which the worker raised. */
    _mm_setcsr((unsigned)mode);
}
#elif defined(__aarch64__)
unsigned long fnn_flush_denormals(void) {
    unsigned long mode;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(mode));
    __asm__ __volatile__("msr fpcr, %0" : : "r"(mode | (1ul << 24)));
    return mode;
}

void fnn_restore_mode(unsigned long mode) {
    __asm__ __volatile__("msr fpcr, %0" : : "r"(mode));
}
#else
unsigned long fnn_flush_denormals(void) {
    return 0;
}

void fnn_restore_mode(unsigned long mode) {
    (void)mode;
}
#endif

/* ---- processes: what a fork leaves of threads ---- */

static atomic_uint forks; /* between the process that loaded the library and this one */
static atomic_ulong forking_thread;
static int *chosen_threads;

#if defined(_OPENMP)
static int usual_threads = 0; /* OpenMP's limit at import: where it is lower now, somebody has lowered it on purpose */
static _Thread_local int ready_threads = 1; /* threads of OpenMP that wait for this thread's next parallel region */
#endif

/* Before a thread forks: ends the threads that wait for its next parallel region. They would not exist in the child, and GNU
 * OpenMP would wait for them for ever (other runtimes look after themselves). Threads that wait for another thread's region
 * do not matter: that thread does not exist in the child either. */
static void before_fork(void) {
#if defined(_OPENMP)
#if defined(__GNUC__) && __GNUC__ >= 9 && !defined(__clang__)
    omp_pause_resource_all(omp_pause_hard);
#endif
    ready_threads = 1;
#endif
}

static void in_child(void) {
    atomic_fetch_add(&forks, 1);
    atomic_store(&forking_thread, fnn_this_thread());
    if (chosen_threads) {
        *chosen_threads = 1;
    }
}

unsigned fnn_forks(void) {
    return atomic_load_explicit(&forks, memory_order_relaxed);
}

unsigned long fnn_forking_thread(void) {
    return atomic_load_explicit(&forking_thread, memory_order_relaxed);
}

int fnn_prepare_threads(int *threads) {
    if (!chosen_threads) {
        fnn_at_fork(before_fork, in_child);
    }
    chosen_threads = threads;
#if defined(_OPENMP)
    usual_threads = omp_get_max_threads();
    return omp_get_num_procs();
#else
    return 1;
#endif
}

int fnn_allowed_threads(int threads) {
#if defined(_OPENMP)
    const int limit = omp_get_max_threads();
    return limit < usual_threads && limit < threads ? limit : threads;
#else
    (void)threads;
    return 1;
#endif
}

static void run_worker(void (*worker)(void *context, int thread), void *context, int thread) {
    const unsigned long mode = fnn_flush_denormals();
    worker(context, thread);
    fnn_restore_mode(mode);
}

void fnn_team_run(fnn_team *team, int threads, void (*start)(void *context), void (*worker)(void *context, int thread),
                  void *context) {
    atomic_init(&team->arrived, 0);
    atomic_init(&team->generation, 0);
    atomic_init(&team->sleepers, 0);
    team->spins = FNN_SPINS;
    team->count = 1;
#if defined(_OPENMP)
    threads = fnn_allowed_threads(threads);
    if (threads > FNN_MAX_THREADS) {
        threads = FNN_MAX_THREADS;
    }
    if (threads > ready_threads) { /* OpenMP ends the process where it cannot make a thread: so others are made first */
        threads = fnn_obtainable_threads(threads);
    }
    if (threads > 1) {
        fnn_mutex_init(&team->mutex);
        fnn_condition_init(&team->woken);
        if (threads > omp_get_num_procs()) {
            team->spins = 0; /* the thread that is waited for may need this core */
        }
        team->count = threads;
        start(context); /* before the region: inside it, a barrier would have to follow */
#pragma omp parallel num_threads(threads)
        {
            if (omp_get_num_threads() !=
                threads) { /* the runtime gave fewer; all of its threads see that and come here */
#pragma omp single
                {
                    team->count = omp_get_num_threads();
                    start(context);
                }
            }
            run_worker(worker, context, omp_get_thread_num());
        }
        ready_threads = threads;
        fnn_condition_destroy(&team->woken);
        fnn_mutex_destroy(&team->mutex);
        return;
    }
#else
    (void)threads;
#endif
    start(context);
    run_worker(worker, context, 0);
}

void fnn_team_set_tiles(fnn_team *team, size_t tiles) {
    const size_t count = (size_t)team->count;
    const size_t each = tiles / count, more = tiles % count;
    size_t next = 0;
    for (size_t t = 0; t < count; t++) {
        atomic_store_explicit(&team->ranges[t].next, next, memory_order_relaxed);
        team->ranges[t].patience = team->spins ? FNN_PATIENCE : 0;
        next += each + (t < more);
        team->ranges[t].end = next;
    }
}

static size_t take(fnn_range *range) {
    if (atomic_load_explicit(&range->next, memory_order_relaxed) < range->end) {
        const size_t tile = atomic_fetch_add_explicit(&range->next, 1, memory_order_relaxed);
        if (tile < range->end) {
            return tile;
        }
    }
    return SIZE_MAX;
}

static int all_taken(fnn_team *team) {
    for (int t = 0; t < team->count; t++) {
        if (atomic_load_explicit(&team->ranges[t].next, memory_order_relaxed) < team->ranges[t].end) {
            return 0;
        }
    }
    return 1;
}

size_t fnn_team_claim(fnn_team *team, int thread) {
    if (team->count == 1) {
        const size_t tile = atomic_load_explicit(&team->ranges[0].next, memory_order_relaxed);
        atomic_store_explicit(&team->ranges[0].next, tile + 1, memory_order_relaxed);
        return tile < team->ranges[0].end ? tile : SIZE_MAX;
    }
    fnn_range *own = &team->ranges[thread];
    const size_t tile = take(own);
    if (tile != SIZE_MAX) {
        return tile;
    }
    while (own->patience > 0) {
        if (all_taken(team)) {
            return SIZE_MAX;
        }
        own->patience--;
        pause_briefly();
    }
    for (int k = 1; k < team->count; k++) {
        const size_t taken = take(&team->ranges[(thread + k) % team->count]);
        if (taken != SIZE_MAX) {
            return taken;
        }
    }
    return SIZE_MAX;
}

void fnn_team_wait(fnn_team *team, void (*between)(void *context), void *context) {
    if (team->count == 1) {
        between(context);
        return;
    }
    const unsigned generation = atomic_load_explicit(&team->generation, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) == team->count - 1) {
        between(context);
        atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
        /* This store and load, and the sleeper's addition and load below, are sequentially consistent: either the sleeper
         * sees the new generation, or this thread sees the sleeper. */
        atomic_store(&team->generation, generation + 1);
        if (atomic_load(&team->sleepers) > 0) {
            fnn_lock(&team->mutex);
            fnn_wake_all(&team->woken);
            fnn_unlock(&team->mutex);
        }
        return;
    }
    for (int spin = 0; spin < team->spins; spin++) {
        if (atomic_load_explicit(&team->generation, memory_order_acquire) != generation) {
            return;
        }
        pause_briefly();
    }
    fnn_lock(&team->mutex);
    atomic_fetch_add(&team->sleepers, 1);
    while (atomic_load(&team->generation) == generation) {
        fnn_sleep_until_woken(&team->woken, &team->mutex);
    }
    atomic_fetch_sub(&team->sleepers, 1);
    fnn_unlock(&team->mutex);
}

int fnn_openmp(void) {
#if defined(_OPENMP)
    return 1;
#else
    return 0;
#endif
}
