/*
 * Starts a process from the saved heap, which the kernel has mapped into place.
 */
#include "heap.h"

#include <internal/pycore_ceval.h>
#include <internal/pycore_runtime.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

extern char **environ;

static PyObject *arguments(int argc, char **argv)
{
    PyObject *list = PyList_New(argc);

    for (int i = 0; list != NULL && i < argc; i++)
        PyList_SET_ITEM(list, i, PyUnicode_DecodeFSDefault(argv[i]));
    return list;
}

/* Return the names of the variables that are meant for us. start.py looks others up when they are needed: an object for
   each would take 3,400 instructions per variable, and Kubernetes sets hundreds. */
static PyObject *our_variables(void)
{
    static const char prefix[] = "HEALTHCHECKER_";
    PyObject *names = PyList_New(0);

    for (char **entry = environ; names != NULL && *entry != NULL; entry++) {
        const char *equals = strncmp(*entry, prefix, sizeof prefix - 1) == 0 ? strchr(*entry, '=') : NULL;
        PyObject *name;
        if (equals == NULL)
            continue;
        name = PyBytes_FromStringAndSize(*entry, equals - *entry);
        if (name == NULL || PyList_Append(names, name) < 0)
            return NULL;
        Py_DECREF(name);
    }
    return names;
}

PyObject *heap_variable(PyObject *module, PyObject *name)
{
    const char *value = PyBytes_Check(name) ? getenv(PyBytes_AS_STRING(name)) : NULL;

    (void)module;
    return value == NULL ? Py_NewRef(Py_None) : PyBytes_FromString(value);
}

PyObject *heap_environment(PyObject *module, PyObject *unused)
{
    PyObject *dict = PyDict_New();

    (void)module, (void)unused;

    for (char **entry = environ; dict != NULL && *entry != NULL; entry++) {
        const char *equals = strchr(*entry, '=');
        PyObject *name, *value;
        if (equals == NULL)
            continue;
        name = PyBytes_FromStringAndSize(*entry, equals - *entry);
        value = PyBytes_FromString(equals + 1);
        if (name == NULL || value == NULL || PyDict_SetDefaultRef(dict, name, value, NULL) < 0)
            return NULL;
        Py_DECREF(name);
        Py_DECREF(value);
    }
    return dict;
}

int __real_pthread_key_create(pthread_key_t *key, void (*at_end)(void *));
int __wrap_pthread_key_create(pthread_key_t *key, void (*at_end)(void *));

/* libc's table of keys is not saved. link.sh redirects pthread_key_create() to here. */
int __wrap_pthread_key_create(pthread_key_t *key, void (*at_end)(void *))
{
    int error = __real_pthread_key_create(key, at_end);

    if (error == 0 && !is_started()) {
        if (*key >= MOST_KEYS)
            Py_FatalError("there are more thread-specific variables than MOST_KEYS");
        saved.at_end[*key] = at_end;
    }
    return error;
}

/* Which of the signals we change were ignored by our parent. */
static int ignored_signals(void)
{
    static const int changed[] = {SIGINT, SIGTERM, SIGALRM, SIGPIPE, SIGXFSZ};
    int ignored = 0;

    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++)
        if (PyOS_getsig(changed[i]) == SIG_IGN)
            ignored |= 1 << changed[i];
    return ignored;
}

/* Let the kernel copy all pages that each check writes to in one call, which costs half as much as a fault for each
   page: 0.96 of the time. Kernels before 5.14 refuse and copy them one by one. Mapping pages that are only read
   in advance is slower (1.07): the kernel maps the neighbours of such a page anyway. */
static void populate(const void *from, const void *to)
{
    const int populate_write = 23; /* MADV_POPULATE_WRITE, which older headers lack */
    const uintptr_t within = (uintptr_t)getpagesize() - 1, first = (uintptr_t)from & ~within;

    madvise((void *)first, ((uintptr_t)to - first + within) & ~within, populate_write);
}

static void populate_written(void)
{
    if (saved.end[WRITTEN] != 0) /* otherwise not laid out yet, and traced by layout.py */
        populate((void *)zone_start[WRITTEN], (void *)saved.end[WRITTEN]);
    /* Of the interpreter, what is in front of the cache of methods, which is only read. */
    populate(&_PyRuntime._main_interpreter.gc, &_PyRuntime._main_interpreter.types);
}

/* Sets what a process does not inherit from the one that was saved. Python's own handler for the child of a fork would
   also renew all locks, look for the main thread and seed `random` again. No lock was held when the heap was saved, the
   id of the main thread is the same, and nothing uses `random` (SystemRandom calls the kernel): without that, 0.93 of the
   instructions and 14 page faults less. */
static int start(int argc, char **argv)
{
    PyObject *argument_list, *names, *result = NULL;
    int streams[2], ignored = ignored_signals();
    pthread_key_t made = 0;

    if (!saved.watched) /* that form is not compressed */
        heap_unpack_when_touched();
    populate_written();
    if (!heap_begin())
        heap_out_of_memory();
    /* The thread-specific variables of Python and OpenSSL have the same keys as in the saved process. */
    for (pthread_key_t key; made < saved.keys; made++)
        if (__real_pthread_key_create(&key, saved.at_end[made]) != 0)
            return 1;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    for (int file = 0; file < 2; file++)
        streams[file] = fcntl(file + 1, F_GETFD) < 0 ? CLOSED : isatty(file + 1) ? TERMINAL : OPEN;
    /* musl keeps the main thread's data among the program's variables, which are at a fixed address. */
    if (PyThread_get_thread_ident() != saved.thread->thread_id)
        Py_FatalError("the main thread's id differs from the saved one");
    PyThread_tss_set(&_PyRuntime.autoTSSkey, saved.thread);
    PyEval_RestoreThread(saved.thread);
    if (saved.watched)
        _PyEval_SetSwitchInterval(UINT32_MAX); /* what threads touch must not depend on their speed */
    saved.thread->native_thread_id = PyThread_get_thread_native_id();

    argument_list = arguments(argc, argv);
    names = our_variables();
    if (argument_list != NULL && names != NULL)
        result = PyObject_CallFunction(saved.start, "OO(ii)i", argument_list, names, streams[0],
                                       streams[1], ignored);
    if (result == NULL && PyErr_ExceptionMatches(PyExc_MemoryError))
        heap_out_of_memory(); /* which PyErr_Print() would need */
    if (result == NULL)
        PyErr_Print();
    return 1; /* the function that was called does not return */
}

int main(int argc, char **argv)
{
    if (!is_started() || saved.watched)
        build.process = getpid();
    return is_started() ? start(argc, argv) : build_main(argc, argv);
}
