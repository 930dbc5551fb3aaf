/*
 * Shared declarations of the saved heap. binary/README.md explains how the parts work together.
 *
 *   product/allocator.c   the memory of CPython, in the build and in a started process
 *   product/inflate.c     unpacks the compressed zones where they are touched
 *   product/outside.c     time, alarms, random numbers and responses of servers: constant in the build
 *   product/start.c       main(): the start of a process from the saved heap
 *   build/objects.c       makes the objects that are saved small and immortal
 *   build/openssl.c       lets OpenSSL set up what TLS needs
 *   build/save.c          writes the memory into a file; the module _saved_heap
 */
#ifndef HEAP_H
#define HEAP_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <stdint.h>

#include "constants.h" /* made from constants.py */

/* The heap relies on the layout of code, functions, threads and interned strings in this CPython. Before you allow another
   version, compare those structures, and PyOS_AfterFork_Child() with start.c. */
#if PY_VERSION_HEX >> 16 != 0x030d
#error "the saved heap was written for CPython 3.13"
#endif
#ifdef Py_GIL_DISABLED
#error "the saved heap was written for a CPython with a global lock"
#endif
#ifdef WITH_PYMALLOC
#error "CPython must allocate all memory by malloc()"
#endif
_Static_assert(sizeof(PyObject) == 2 * sizeof(void *), "an object starts with its reference count and its type");

/* ---- the allocator */

/* Precedes each block; in the build it is AWAY behind the block. */
typedef struct {
    uint32_t size;   /* of the block, with the header where that is in front of it */
    uint32_t number; /* in the build, of the allocation, 0 when freed; in a started process, see mark_of() */
} Header;

/* Small sizes are multiples of a step; above, each power of two is divided into eight. */
enum { STEP = 16, WORD = 8, SMALL = 1024, BINS = SMALL / WORD + 1 + 8 * 32 };

struct zone {
    uintptr_t next, end; /* unused memory */
    void *freed[BINS];
};

extern const uintptr_t zone_start[FRESH];
extern struct zone zones[ZONES];

enum { FIRST_MEMORY = 40 * 1024 }; /* of a started process: as much as a plain check uses */

/* The allocator's state in the build. */
extern struct build {
    uint32_t allocations;    /* so far */
    uint32_t imported, warm; /* their number when everything was imported, and after the warm-up */
    unsigned char *layout;   /* the zone of each allocation, or NULL */
    size_t layout_size;
    pid_t process; /* of the build itself; its children are servers */
} build;

void *heap_malloc(size_t size);
void *heap_calloc(size_t count, size_t size);
void *heap_realloc(void *block, size_t size);
void heap_free(void *block);
Header *header_of(void *block);
size_t heap_size(void *block);
int heap_begin(void);
void heap_take_arenas(void);
int heap_is_threaded(void);
void heap_unpack_when_touched(void);
_Noreturn void heap_out_of_memory(void);

/* ---- saving */

enum { MOST_KEYS = 32 };

/* The input of a started process, filled in when the heap is saved. */
extern struct saved {
    uintptr_t end[TEMPORARY]; /* of the saved zones, of which COLD is the last one */
    pthread_key_t keys;       /* the number of thread-specific keys */
    void (*at_end[MOST_KEYS])(void *); /* of a thread, for each key */
    PyThreadState *thread;
    PyObject *start; /* what to call */
    int watched;     /* whether layout.py traces this executable */
} saved;

static inline int is_started(void)
{
    return saved.end[COLD] > 1;
}

PyObject *heap_variable(PyObject *module, PyObject *name);
PyObject *heap_environment(PyObject *module, PyObject *unused);
int build_main(int argc, char **argv);
PyObject *set_up_openssl(PyObject *module, PyObject *certificates);
PyObject *immortalize(PyObject *module, PyObject *objects);
int shrink_interned(void);
int forget_interned(void);

#endif
