/*
 * What the parts of the saved heap know of each other. binary/README.md explains how they work together.
 *
 *   product/allocator.c   CPython's memory, in the build and in a started process
 *   product/openssl.c     OpenSSL's memory in a started process
 *   product/outside.c     what CPython learns from outside: time, chance, answers of servers
 *   product/start.c       main(): the start of a process from the saved heap
 *   build/objects.c       makes the objects that are saved small and immortal
 *   build/save.c          writes the memory into a file; the module _saved_heap
 */
#ifndef HEAP_H
#define HEAP_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <pthread.h>
#include <stdint.h>

#include "constants.h" /* made from constants.py */

/* The heap knows how this CPython keeps code, functions, threads and interned strings. Before another
   one is let in, compare those structures, and what PyOS_AfterFork_Child() renews with what start.c does. */
#if PY_VERSION_HEX >> 16 != 0x030d
#error "the saved heap was written for CPython 3.13"
#endif
#ifdef Py_GIL_DISABLED
#error "the saved heap was written for a CPython with a global lock"
#endif
#ifdef WITH_PYMALLOC
#error "CPython must take all its memory from malloc()"
#endif
_Static_assert(sizeof(void *) == 8, "addresses have 64 bits");
_Static_assert(sizeof(PyObject) == 16, "an object starts with its count of references and its type");

/* ---- the allocator */

/* In front of each block, and in the build AWAY behind it. */
typedef struct {
    uint32_t size;   /* of the block, with the header where that is in front of it */
    uint32_t number; /* of the allocation, counted from the start of the process; 0 when freed */
} Header;

/* Small sizes are multiples of a step; above, each power of two is divided into eight. */
enum { STEP = 16, WORD = 8, SMALL = 1024, BINS = SMALL / WORD + 1 + 8 * 32 };

struct zone {
    uintptr_t next, end; /* unused memory */
    void *freed[BINS];
};

extern const uintptr_t zone_start[FRESH];
extern struct zone zones[ZONES];

/* What a started process allocates first. */
enum { FIRST_MEMORY = 256 * 1024 };
extern char first_memory[FIRST_MEMORY];

/* The settings of the allocator in the build. */
extern struct build {
    uint32_t allocations;    /* so far */
    uint32_t imported, warm; /* how many there were when all was imported, and when all had run */
    unsigned char *layout;   /* the zone of each allocation, or NULL */
    size_t layout_size;
    pid_t process; /* not one of its children, which are servers */
} build;

void *heap_malloc(size_t size);
void *heap_calloc(size_t count, size_t size);
void *heap_realloc(void *block, size_t size);
void heap_free(void *block);
Header *header_of(void *block);
void heap_take_arenas(void);
int heap_serve_openssl(void);

/* ---- saving */

/* What a started process needs to know; filled in when the heap is saved. */
extern struct saved {
    uintptr_t end[TEMPORARY]; /* of the saved zones, of which COLD is the last one */
    pthread_key_t keys;       /* how many thread-specific variables there were */
    PyThreadState *thread;
    PyObject *start; /* what to call */
    int watched;     /* whether layout.py watches what this executable does */
} saved;

static inline int is_started(void)
{
    return saved.end[COLD] > 1;
}

int build_main(int argc, char **argv);
PyObject *immortalize(PyObject *module, PyObject *objects);
int shrink_interned(void);
int forget_interned(void);

#endif
