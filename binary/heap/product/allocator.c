/*
 * The memory of CPython: link.sh redirects its malloc() and the like to here.
 *
 * Each block has a header and is taken from the end of a zone or from a list of freed blocks of its size. Blocks that a
 * plain HTTP check writes to, blocks that it only reads, blocks that other usual checks touch, those of less usual and of
 * rare ones, and the rest are in separate zones, so that a check touches few pages; the last three zones are compressed
 * (inflate.c).
 * Blocks that the build frees before it saves the heap are in a zone that is not saved. layout.py derives the zone of
 * each block from a first build.
 *
 * In a started process, the header precedes the block. In the build, it is AWAY behind the block: a saved block is never
 * freed, so its header need not be saved.
 */
#include "heap.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/auxv.h>
#include <sys/mman.h>

enum { LARGE = 64 * 1024, GROWTH = 1 << 20 };

/* Above everything that the kernel may map behind the program. Fresh memory may be anywhere. */
const uintptr_t zone_start[FRESH] = {
    [WRITTEN] = WRITTEN_START, [READ] = READ_START, [OTHER] = OTHER_START, [SELDOM] = SELDOM_START,
    [RARE] = RARE_START, [COLD] = COLD_START, [TEMPORARY] = TEMPORARY_START,
};
_Static_assert(PAGE % STEP == 0 && sizeof(Header) == WORD, "blocks are aligned");

struct zone zones[ZONES];
struct build build = {.imported = UINT32_MAX, .warm = UINT32_MAX};

static atomic_flag locked = ATOMIC_FLAG_INIT;
static uintptr_t secret; /* random in each started process; 0 in the build */

/* Whether a second thread was ever started. Until then nothing is locked: 0.97 of the time. link.sh redirects
   pthread_create() to here. */
static int threaded;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    threaded = 1;
    return __real_pthread_create(thread, attributes, run, argument);
}

int heap_is_threaded(void)
{
    return threaded;
}

static void lock(void)
{
    while (threaded && atomic_flag_test_and_set_explicit(&locked, memory_order_acquire))
        sched_yield();
}

static void unlock(void)
{
    if (threaded)
        atomic_flag_clear_explicit(&locked, memory_order_release);
}

Header *header_of(void *block)
{
    return is_started() ? (Header *)block - 1 : (Header *)((char *)block + AWAY);
}

static int is_saved(const void *block)
{
    return is_started() && (uintptr_t)block >= zone_start[WRITTEN] && (uintptr_t)block < saved.end[COLD];
}

/* The header of a used block contains this number in a started process, that of a freed block its complement. An
   overflow that overwrites a header cannot know it. */
static uint32_t mark_of(const void *block)
{
    return (uint32_t)((((uintptr_t)block ^ secret) * 0x9e3779b97f4a7c15) >> 32);
}

/* Stop the started process if the block was freed twice or its header was overwritten. */
static void demand(void *block, uint32_t mark)
{
    if (((Header *)block - 1)->number != mark)
        __builtin_trap();
}

static int is_large(void *block)
{
    return is_started() && header_of(block)->size == 0;
}

/* The size of a used block, which is somewhat more than was requested; of a saved one it is not known. */
size_t heap_size(void *block)
{
    if (is_saved(block))
        return 0;
    return is_large(block) ? *(size_t *)((char *)block - STEP) : header_of(block)->size;
}

/* Encode or decode the link from a freed block of a started process to the next one. */
static void *link_of(const void *block, const void *next)
{
    return (void *)((uintptr_t)next ^ secret ^ (uintptr_t)block / PAGE);
}

/* Take the first freed block of a started process, or return NULL. */
static void *take_freed(unsigned bin)
{
    void **freed = &zones[FRESH].freed[bin], *block = *freed;

    if (block != NULL) {
        demand(block, ~mark_of(block));
        *freed = link_of(block, *(void **)block);
    }
    return block;
}

static void put_freed(void *block, unsigned bin)
{
    ((Header *)block - 1)->number = ~mark_of(block);
    *(void **)block = link_of(block, zones[FRESH].freed[bin]);
    zones[FRESH].freed[bin] = block;
}

/* Small sizes are multiples of a step; above, each power of two is divided into eight. */
static size_t block_size(size_t size)
{
    const size_t header = is_started() ? sizeof(Header) : 0, step = is_started() ? STEP : WORD;
    unsigned shift;

    size = size == 0 ? step : (size + header + step - 1) & ~(step - 1);
    if (size <= SMALL)
        return size;
    shift = 63 - 3 - (unsigned)__builtin_clzll(size - 1);
    return (((size - 1) >> shift) + 1) << shift;
}

static unsigned bin_of(size_t block_size)
{
    unsigned shift;

    if (block_size <= SMALL)
        return (unsigned)(block_size / WORD);
    shift = 63 - 3 - (unsigned)__builtin_clzll(block_size - 1);
    return SMALL / WORD + 1 + 8 * (shift - 7) + (unsigned)((block_size >> shift) - 9);
}

static int grow(int zone, size_t size)
{
    size_t length = (size + GROWTH - 1) & ~(size_t)(GROWTH - 1);
    uintptr_t at = zones[zone].end;
    void *memory;

    if (zone == FRESH) {
        memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    } else {
        if (at == 0)
            at = zone_start[zone];
        memory = mmap((void *)at, length, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (mmap((void *)(at + AWAY), length, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
            memory = MAP_FAILED;
    }
    if (memory == MAP_FAILED) {
        errno = ENOMEM;
        return 0;
    }
    if ((uintptr_t)memory != zones[zone].end)
        zones[zone].next = (uintptr_t)memory + (zone == FRESH ? STEP : 0);
    zones[zone].end = (uintptr_t)memory + length;
    return 1;
}

/* Take the first memory of a started process from a random address, and populate it: a plain check uses all of it. */
int heap_begin(void)
{
    const uintptr_t *drawn = (const uintptr_t *)getauxval(AT_RANDOM);
    void *memory = mmap(NULL, FIRST_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (drawn != NULL)
        secret = drawn[1]; /* libc takes the first one for the stack protector */
    if (memory == MAP_FAILED)
        return 0;
    zones[FRESH].next = (uintptr_t)memory + STEP;
    zones[FRESH].end = (uintptr_t)memory + FIRST_MEMORY;
    return 1;
}

/* The zone of an allocation in the build. All runs are equal while modules are imported. Later allocations depend on how
   fast servers respond, so all of them may have to be saved. */
static int zone_of(uint32_t number, size_t size)
{
    int zone = number < build.layout_size ? build.layout[number] : COLD;

    if (number > build.warm && size > SMALL)
        return TEMPORARY;
    return zone == TEMPORARY && number > build.imported ? COLD : zone;
}

/* Let no block of a compressed zone cross the end of a chunk. The rest of the chunk becomes a freed block, because
   layout.py walks from block to block. */
static int fill_chunk(int zone, size_t size)
{
    const size_t rest = -zones[zone].next % CHUNK;

    if ((zone != SELDOM && zone != RARE && zone != COLD) || rest == 0 || size <= rest)
        return 1;
    if (zones[zone].end - zones[zone].next < rest && !grow(zone, rest))
        return 0;
    *header_of((void *)zones[zone].next) = (Header){.size = (uint32_t)rest, .number = 0};
    zones[zone].next += rest;
    return 1;
}

/* Take a block from the end of a zone. */
static void *take_new(int zone, size_t rounded)
{
    void *block;

    if (zones[zone].end - zones[zone].next < rounded && !grow(zone, rounded + STEP))
        return NULL;
    block = (void *)zones[zone].next;
    zones[zone].next += rounded;
    return block;
}

static inline void *allocate(size_t rounded, unsigned bin)
{
    void *block = take_freed(bin);

    if (block == NULL && (block = take_new(FRESH, rounded)) == NULL)
        return NULL;
    ((Header *)block - 1)->size = (uint32_t)rounded;
    ((Header *)block - 1)->number = mark_of(block);
    return block;
}

static void *allocate_in_build(size_t size)
{
    size_t rounded = block_size(size);
    unsigned bin = bin_of(rounded);
    int zone = zone_of(++build.allocations, rounded);
    void *block = zones[zone].freed[bin];

    if (block != NULL)
        zones[zone].freed[bin] = *(void **)block;
    else if (!fill_chunk(zone, rounded) || (block = take_new(zone, rounded)) == NULL)
        return NULL;
    *header_of(block) = (Header){.size = (uint32_t)rounded, .number = build.allocations};
    memset(block, 0, rounded); /* remains of earlier blocks are not saved */
    return block;
}

static void free_in_build(void *block)
{
    Header *header = header_of(block);
    void **freed = &zones[zone_of(header->number, header->size)].freed[bin_of(header->size)];

    header->number = 0;
    *(void **)block = *freed;
    *freed = block;
}

/* Large blocks are mapped and unmapped one by one. They are never saved. */
static size_t large_size(size_t size)
{
    return (size + STEP + (PAGE - 1)) & ~(size_t)(PAGE - 1);
}

static void *allocate_large(size_t size)
{
    char *memory = mmap(NULL, large_size(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                        -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    *(size_t *)memory = large_size(size);
    *header_of(memory + STEP) = (Header){.size = 0, .number = mark_of(memory + STEP)};
    return memory + STEP;
}

void *heap_malloc(size_t size)
{
    void *block;

    /* A short way for nearly all blocks of a check: 0.96 of the instructions. */
    if (size <= SMALL - sizeof(Header) && is_started() && !threaded) {
        size_t rounded = (size + sizeof(Header) + STEP - 1) & ~(size_t)(STEP - 1);
        return allocate(rounded, (unsigned)(rounded / WORD));
    }
    if (size > UINT32_MAX / 2) {
        errno = ENOMEM;
        return NULL;
    }
    if (size >= LARGE && is_started())
        return allocate_large(size);
    lock();
    if (is_started()) {
        size_t rounded = block_size(size);
        block = allocate(rounded, bin_of(rounded));
    } else {
        block = allocate_in_build(size);
    }
    unlock();
    return block;
}

void *heap_calloc(size_t count, size_t size)
{
    void *block;

    if (size != 0 && count > SIZE_MAX / size) {
        errno = ENOMEM;
        return NULL;
    }
    block = heap_malloc(count * size);
    if (block != NULL)
        memset(block, 0, count * size);
    return block;
}

void heap_free(void *block)
{
    uint32_t size;

    if (block == NULL || is_saved(block))
        return;
    if (is_started())
        demand(block, mark_of(block));
    size = header_of(block)->size;
    if (size == 0) {
        char *memory = (char *)block - STEP;
        munmap(memory, *(size_t *)memory);
        return;
    }
    lock();
    if (is_started())
        put_freed(block, bin_of(size));
    else
        free_in_build(block);
    unlock();
}

/* The number of bytes that can be read from a saved block on. Its size is not known any more. */
static size_t readable(const void *block)
{
    uintptr_t end = saved.end[COLD];

    for (int zone = 0; zone < TEMPORARY; zone++)
        if ((uintptr_t)block < saved.end[zone] && saved.end[zone] < end)
            end = saved.end[zone];
    return end - (uintptr_t)block;
}

void *heap_realloc(void *block, size_t size)
{
    size_t old;
    void *new;

    if (block == NULL)
        return heap_malloc(size);
    if (is_started() && !is_saved(block))
        demand(block, mark_of(block));
    if (is_saved(block)) {
        old = readable(block);
    } else if (is_large(block)) {
        char *memory = (char *)block - STEP;
        old = *(size_t *)memory;
        if (size >= LARGE && size <= UINT32_MAX / 2) {
            memory = mremap(memory, old, large_size(size), MREMAP_MAYMOVE);
            if (memory != MAP_FAILED) { /* otherwise it may be denied */
                *(size_t *)memory = large_size(size);
                header_of(memory + STEP)->number = mark_of(memory + STEP);
                return memory + STEP;
            }
        }
        old -= STEP;
    } else {
        old = header_of(block)->size - (is_started() ? sizeof(Header) : 0);
        if (size < LARGE && block_size(size) == header_of(block)->size)
            return block;
    }
    new = heap_malloc(size);
    if (new != NULL) {
        memcpy(new, block, old < size ? old : size);
        heap_free(block);
    }
    return new;
}

/* Python's stack frames, which are also saved. */
static void *arena_alloc(void *context, size_t size)
{
    (void)context;
    return heap_malloc(size);
}

static void arena_free(void *context, void *block, size_t size)
{
    (void)context, (void)size;
    heap_free(block);
}

void heap_take_arenas(void)
{
    PyObjectArenaAllocator arenas = {NULL, arena_alloc, arena_free};

    PyObject_SetArenaAllocator(&arenas);
}
