# Who may change a model, who may read it, and who waits. Part of _engine.pyx.

import _thread

from fastnn._warnings import warn

from cpython.pythread cimport (
    PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_get_thread_ident,
    PyThread_release_lock, PyThread_type_lock, NOWAIT_LOCK, WAIT_LOCK,
)

from fastnn._c cimport fnn_forking_thread, fnn_forks

_INSIDE = ("this model is running in this thread already: a loss, a metric, a progress function or a signal handler "
           "can neither run nor change it, only a loss or a metric can predict with it")
_CIRCLE = ("this call would wait for ever: another thread holds the model that it needs, and waits itself for a model "
           "that this thread is running (from a loss, a metric or a signal handler)")

_HALF = ("another thread was in the middle of a change of this model when the process was forked: its weights here may "
         "be half of it, until they are set or loaded")

cdef unsigned long _VANISHED = <unsigned long>-1  # the owner of a lock whose thread a fork has left behind

cdef dict _waits = {}  # what each waiting thread waits for


cdef class _Wait:
    """One thread in the queue of a lock."""

    cdef Lock lock
    cdef unsigned long thread
    cdef bint reads, granted
    cdef object gate

    def __reduce__(self):
        raise TypeError("a place in a queue cannot be pickled")


cdef class Lock:
    """The lock of a model, with two ways to hold it.

    To change (``with lock:``): build, compile, train, set weights, save; one thread at a time, which may enter again.
    To read (``with lock.reading():``): predict, copy the weights; it waits for a change to end, so that it sees what
    was before or what is afterwards. While a run calls Python in the middle of a step, its losses and metrics, it lends
    the model to readers, as the weights are then those of a whole step: no user's code runs while another model's
    prediction is kept waiting for it. Threads are served in the order in which they came; where two would wait for each
    other for ever, the later one gets a RuntimeError. A thread that forks has its locks in the child, where the others
    are free; the first who takes one that was held to change the model gets a warning.

    All fields are read and written with Python's own lock held, and without a call of Python in between.

    Attributes
    ----------
    changes : int
        How often weights were changed by anybody but the engine, see :meth:`changed`.
    """

    cdef unsigned long _owner, _reader  # the thread that changes, and the thread that reads; 0: none
    cdef Py_ssize_t _depth
    cdef bint _running, _lent
    cdef readonly int64_t changes
    cdef list _queue
    cdef PyThread_type_lock _back  # while _wants_back, the owner waits at this lock for a reader to give the model back
    cdef bint _wants_back
    cdef unsigned _forks  # the number of forks that the fields above know of

    def __cinit__(self):
        self._back = PyThread_allocate_lock()
        if self._back == NULL:
            raise MemoryError("no memory for a lock")
        PyThread_acquire_lock(self._back, WAIT_LOCK)
        self._queue = []
        self._forks = fnn_forks()

    def __dealloc__(self):
        if self._back != NULL:
            PyThread_free_lock(self._back)

    def __reduce__(self):
        raise TypeError("a lock cannot be pickled or copied")

    def acquire(self):
        """Take the lock to change the model; raise RuntimeError within a run of the same model in this thread."""
        self.change()

    def release(self):
        """Release the lock."""
        self.leave()

    def __enter__(self):
        self.change()

    def __exit__(self, *error):
        self.leave()

    def reading(self):
        """Return a context that holds the lock to read."""
        return _Reading(self)

    @property
    def waiting(self):
        """The number of threads that wait for the lock."""
        return len(self._queue)

    def changed(self):
        """Say that weights were changed, so that what a forward pass has left counts as outdated."""
        self.changes += 1

    cdef int change(self) except -1:
        cdef unsigned long me = <unsigned long>PyThread_get_thread_ident()
        self._renew()
        if self._owner == me:
            if self._running:
                raise RuntimeError(_INSIDE)
            self._depth += 1
            return 0
        if self._reader == me:
            raise RuntimeError(_INSIDE)
        if self._owner or self._reader:
            self._wait(me, False)
        else:
            self._owner = me
            self._depth = 1
        return 0

    cdef int read(self) except -1:
        cdef unsigned long me = <unsigned long>PyThread_get_thread_ident()
        self._renew()
        if self._owner == me and not self._lent:
            if self._running:
                raise RuntimeError(_INSIDE)
            self._depth += 1
            return 0
        if self._reader == me:
            raise RuntimeError(_INSIDE)
        if self._reader or (self._owner and not self._lent):
            self._wait(me, True)
        else:
            self._reader = me
        return 0

    cdef int leave(self) except -1:
        """End what :meth:`change` or :meth:`read` has begun."""
        self._renew()
        if self._reader and self._reader == <unsigned long>PyThread_get_thread_ident():
            self._reader = 0
        else:
            self._depth -= 1
            if self._depth:
                return 0
            self._owner = 0
        self._hand_on()
        return 0

    cdef void lend(self) noexcept:
        """Lend the model to readers; called by the thread that runs it."""
        self._renew()
        self._lent = True
        self._hand_on()

    cdef void take_back(self) noexcept:
        """Take the model back from readers, once the last of them has ended."""
        self._renew()
        self._lent = False
        if self._reader:
            self._wants_back = True
            with nogil:
                PyThread_acquire_lock(self._back, WAIT_LOCK)

    cdef void _hand_on(self) noexcept:
        """Give the lock to the first in the queue who may have it now."""
        cdef _Wait wait
        cdef Py_ssize_t k
        if self._reader:
            return
        if self._wants_back:
            self._wants_back = False
            PyThread_release_lock(self._back)
            return
        if self._owner and not self._lent:
            return
        for k in range(len(self._queue)):
            wait = <_Wait>self._queue[k]
            if wait.reads or not self._owner:
                del self._queue[k]
                if wait.reads:
                    self._reader = wait.thread
                else:
                    self._owner, self._depth = wait.thread, 1
                wait.granted = True
                wait.gate.release()
                return

    cdef int _wait(self, unsigned long me, bint reads) except -1:
        """Wait until this thread has the lock."""
        _notice_fork()
        if self._owner == _VANISHED:
            self._owner, self._depth, self._reader = 0 if reads else me, 1, me if reads else 0
            try:
                warn(_HALF, RuntimeWarning)
            except BaseException:
                self.leave()
                raise
            return 0
        cdef _Wait wait = _Wait()
        wait.lock, wait.thread, wait.reads = self, me, reads
        wait.gate = _thread.allocate_lock()
        wait.gate.acquire()
        before = _waits.get(me)  # what the thread waits for, where a signal handler interrupted its wait with this call
        if _closes_a_circle(self, me, reads):
            raise RuntimeError(_CIRCLE)
        _waits[me] = wait
        try:
            self._queue.append(wait)
            self._hand_on()  # the lock may have become free meanwhile
            wait.gate.acquire()
        except BaseException:  # an exception of a signal handler, or no memory
            if wait.granted:
                self.leave()
            elif wait in self._queue:
                self._queue.remove(wait)
            raise
        finally:
            if before is None:
                _waits.pop(me, None)
            else:
                _waits[me] = before
        return 0

    cdef unsigned long _in_the_way(self, bint reads) noexcept:
        """Return the thread that a thread which wants to read, or to change, has to wait for."""
        return self._owner if self._owner and not (reads and self._lent) else self._reader

    cdef void _renew(self) noexcept:
        """Forget threads that a fork has left behind; in a child, the first use of the lock comes here.

        Only the thread that forked exists in the child; another thread may by now bear the number of a lost one.
        """
        cdef unsigned long left
        if self._forks == fnn_forks():
            return
        self._forks = fnn_forks()
        left = fnn_forking_thread()
        if self._owner != left:
            # While readers had the model, or had yet to give it back, the weights were those of a whole step.
            self._owner = _VANISHED if self._owner and not (self._lent or self._wants_back) else 0
            self._depth = 0
            self._running = self._lent = False
        if self._reader != left:
            self._reader = 0
        self._wants_back = False
        PyThread_acquire_lock(self._back, NOWAIT_LOCK)  # a reader may just have released it
        self._queue.clear()


cdef class _Reading:
    """The context ``with lock.reading():``."""

    cdef Lock lock

    def __cinit__(self, Lock lock not None):
        self.lock = lock

    def __reduce__(self):
        raise TypeError("a lock cannot be pickled")

    def __enter__(self):
        self.lock.read()

    def __exit__(self, *error):
        self.lock.leave()


@cython.final
cdef class Locks:
    """The context in which a thread holds several locks, some to change their models and others to read them.

    It takes them in one order, so that no two threads which do wait for each other, and no signal handler runs between
    two of them unless it has to wait.
    """

    cdef list _locks
    cdef set _read
    cdef Py_ssize_t _held

    def __init__(self, locks, to_read=()):
        self._read = set(to_read)
        self._locks = sorted([*locks, *self._read], key=id)

    def __reduce__(self):
        raise TypeError("locks cannot be pickled")

    def __enter__(self):
        cdef Lock lock
        try:
            while self._held < len(self._locks):
                lock = <Lock?>self._locks[self._held]
                if lock in self._read:
                    lock.read()
                else:
                    lock.change()
                self._held += 1
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *error):
        while self._held:
            self._held -= 1
            (<Lock>self._locks[self._held]).leave()


cdef bint _closes_a_circle(Lock lock, unsigned long me, bint reads):
    """Return whether the owner that this thread would wait for waits, through any number of others, for this thread."""
    cdef _Wait wait
    cdef unsigned long thread
    cdef Py_ssize_t k
    for k in range(len(_waits) + 1):
        thread = lock._in_the_way(reads)
        if thread == me:
            return True
        wait = _waits.get(thread)
        if wait is None or wait.granted:
            return False
        lock, reads = wait.lock, wait.reads
    return False
