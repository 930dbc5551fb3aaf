/*
 * The start of a process from the saved heap, all of which the kernel has put in place.
 */
#include "heap.h"

#include <internal/pycore_runtime.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

extern char **environ;
extern char __bss_start[]; /* order.lds has first_memory behind all else that begins as zeros */

static PyObject *arguments(int argc, char **argv)
{
    PyObject *list = PyList_New(argc);

    for (int i = 0; list != NULL && i < argc; i++)
        PyList_SET_ITEM(list, i, PyUnicode_DecodeFSDefault(argv[i]));
    return list;
}

static PyObject *environment(void)
{
    PyObject *dict = PyDict_New();

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

/* Of the signals that Python or we change, those that the parent process had ignored. */
static int ignored_signals(void)
{
    static const int changed[] = {SIGINT, SIGTERM, SIGALRM, SIGPIPE, SIGXFSZ};
    int ignored = 0;

    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++)
        if (PyOS_getsig(changed[i]) == SIG_IGN)
            ignored |= 1 << changed[i];
    return ignored;
}

enum { FIRST_USED = 60 * 1024 }; /* of fresh memory, by a plain check */

/* Have the kernel copy in one call the pages that each check writes to, which costs half of what a trap for each
   page does: 0.96 of the time. A kernel before 5.14 refuses, and copies them one by one. To have pages mapped
   that are only read gains nothing (1.07): the kernel maps the neighbours of such a page anyway. */
static void populate(const void *from, const void *to)
{
    const int populate_write = 23; /* MADV_POPULATE_WRITE, which older headers lack */
    const uintptr_t within = (uintptr_t)getpagesize() - 1, first = (uintptr_t)from & ~within;

    madvise((void *)first, ((uintptr_t)to - first + within) & ~within, populate_write);
}

static void populate_written(void)
{
    if (saved.end[WRITTEN] != 0) /* not laid out yet: layout.py watches */
        populate((void *)zone_start[WRITTEN], (void *)saved.end[WRITTEN]);
    populate(&_PyRuntime._main_interpreter, &_PyRuntime + 1);
    populate(__bss_start, first_memory + FIRST_USED);
}

/* What is set up here is what another process does not inherit from the one that was saved. Python's own way for
   the child of a fork would make new locks, look for the main thread, and seed `random` again. No thread held a lock or
   waited for one when the heap was saved, the main thread has the same number, and no code draws from `random`
   (SystemRandom asks the kernel each time): without all that, 0.93 of the instructions, 14 page faults less. */
static int start(int argc, char **argv)
{
    pthread_key_t key = 0;
    PyObject *argument_list, *variables, *result = NULL;
    int streams[3], ignored = ignored_signals();

    populate_written();
    /* Python's thread-local variables are found under the same keys as in the saved process. */
    while (key + 1 < saved.keys)
        if (pthread_key_create(&key, NULL) != 0)
            return 1;
    if (!heap_serve_openssl())
        return 1;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    for (int file = 0; file < 3; file++)
        streams[file] = fcntl(file, F_GETFD) < 0 ? CLOSED : isatty(file) ? TERMINAL : OPEN;
    /* musl keeps the main thread's data among the program's variables, which have the same place each time. */
    if (PyThread_get_thread_ident() != saved.thread->thread_id)
        Py_FatalError("the main thread has another number than the saved one");
    PyThread_tss_set(&_PyRuntime.autoTSSkey, saved.thread);
    PyEval_RestoreThread(saved.thread);
    saved.thread->native_thread_id = PyThread_get_thread_native_id();

    argument_list = arguments(argc, argv);
    variables = environment();
    if (argument_list != NULL && variables != NULL)
        result = PyObject_CallFunction(saved.start, "OO(iii)i", argument_list, variables, streams[0],
                                       streams[1], streams[2], ignored);
    if (result == NULL)
        PyErr_Print();
    return 1; /* what is called ends the process by itself */
}

int main(int argc, char **argv)
{
    if (!is_started() || saved.watched)
        build.process = getpid();
    return is_started() ? start(argc, argv) : build_main(argc, argv);
}
