/*
 * Blocks that hardly any check touches are compressed in the executable. Nothing is mapped at their addresses: the first
 * access to a chunk is a fault, and its handler unpacks the chunk into its place.
 *
 * No block crosses the end of a chunk (allocator.c). The kernel would fail with EFAULT instead of causing a fault, so
 * no saved block may be a buffer of its own that a system call fills (refuse_buffer() in objects.c). The handler calls
 * no function of libc that may wait for another thread.
 */
#include "heap.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zlib.h>

#ifndef SYS_mmap /* on 32-bit machines, where it counts the offset in pages */
#define SYS_mmap SYS_mmap2
#endif

/* One thread's access may fault again when another one has just unpacked the chunk: at most once per thread. More are an
   error, for example a jump into data. */
enum { MOST_FAULTS_IN_VAIN = 1000, STATE = 12 * 1024 /* that of zlib takes 7.2 KiB */ };

/* The segment of the chunks: where each one ends, those of SELDOM first, those of COLD last, and the chunks. In the file
   it follows zone WRITTEN, so it begins at the same address within a page. */
static const uint32_t *chunk_ends(void)
{
    return (const uint32_t *)(COMPRESSED_START + saved.end[WRITTEN] % CHUNK);
}

static atomic_flag locked = ATOMIC_FLAG_INIT;
static unsigned char is_unpacked[MOST_CHUNKS];

static uint32_t chunks_of(int zone)
{
    return saved.end[zone] == 0 ? 0 : (uint32_t)((saved.end[zone] - zone_start[zone] + CHUNK - 1) / CHUNK);
}

static size_t long_length(const unsigned char **in, size_t length)
{
    unsigned char more = 255;

    if (length == 15)
        for (; more == 255; length += more)
            more = *(*in)++;
    return length;
}

/* The format of LZ4's blocks, which compress.c writes: 20 µs per chunk, where zlib takes 200. */
static void unpack_fast(unsigned char *out, const unsigned char *in, const unsigned char *in_end)
{
    while (in < in_end) {
        const unsigned char token = *in++, *from;
        size_t length = long_length(&in, token >> 4);

        memcpy(out, in, length);
        out += length;
        in += length;
        if (in >= in_end)
            return;
        from = out - (in[0] | in[1] << 8);
        in += 2;
        length = long_length(&in, token & 15) + 4;
        if ((size_t)(out - from) >= length) {
            memcpy(out, from, length);
            out += length;
        } else {
            while (length-- > 0) /* the bytes that it repeats are still being written */
                *out++ = *from++;
        }
    }
}

/* zlib's only allocation. */
static void *take_state(void *state, unsigned count, unsigned size)
{
    return (size_t)count * size <= STATE ? state : NULL;
}

static void keep_state(void *state, void *block)
{
    (void)state, (void)block;
}

static int unpack_small(unsigned char *out, size_t size, const unsigned char *in, const unsigned char *in_end)
{
    _Alignas(16) char state[STATE];
    z_stream stream = {.next_in = (unsigned char *)in, .avail_in = (unsigned)(in_end - in), .next_out = out,
                       .avail_out = (unsigned)size, .zalloc = take_state, .zfree = keep_state, .opaque = state};

    return inflateInit2(&stream, -MAX_WBITS) == Z_OK && inflate(&stream, Z_FINISH) == Z_STREAM_END;
}

/* Map new memory at a place, or anywhere if it is 0. */
static long map(uintptr_t place, size_t size)
{
    const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | (place != 0 ? MAP_FIXED : 0);

    return syscall(SYS_mmap, place, size, PROT_READ | PROT_WRITE, how, -1, 0L);
}

/* A filter of system calls may deny mremap(). Another thread could then see a part of the chunk, for some µs, but it would
   need the lock of the interpreter, which this thread holds: no thread accesses a saved object for the first time
   without it. */
static int move(long memory, uintptr_t place, size_t size)
{
    if (syscall(SYS_mremap, memory, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place) != -1)
        return 1;
    if (map(place, size) == -1)
        return 0;
    memcpy((void *)place, (void *)memory, size);
    syscall(SYS_munmap, memory, size);
    return 1;
}

/* Another thread must not see a part of a chunk, so while there is one, the chunk is moved to its place when it is
   complete. Otherwise it is unpacked there, which takes 15 of 54 µs less. */
static int unpack(int zone, uintptr_t place, uint32_t number)
{
    const size_t left = saved.end[zone] - place, size = left < CHUNK ? left : CHUNK;
    const uint32_t *const ends = chunk_ends(), count = chunks_of(SELDOM) + chunks_of(RARE) + chunks_of(COLD);
    const unsigned char *const first = (const unsigned char *)(ends + count);
    const unsigned char *const from = first + (number == 0 ? 0 : ends[number - 1]), *const end = first + ends[number];
    const int is_moved = heap_is_threaded();
    const long memory = map(is_moved ? 0 : place, size);

    if (memory == -1)
        return 0;
    if (zone != COLD)
        unpack_fast((unsigned char *)memory, from, end);
    else if (!unpack_small((unsigned char *)memory, size, from, end))
        return 0;
    return !is_moved || move(memory, place, size);
}

void heap_out_of_memory(void)
{
    static const char message[] = "healthchecker: out of memory\n";

    syscall(SYS_write, 2, message, sizeof message - 1);
    for (;;)
        syscall(SYS_exit_group, 1);
}

#ifdef __x86_64__
__attribute__((force_align_arg_pointer)) /* QEMU before 8.1 calls a handler with a stack that is not aligned */
#endif
static void at_fault(int signal_number, siginfo_t *what, void *context)
{
    static unsigned in_vain;
    const uintptr_t address = what->si_code > 0 ? (uintptr_t)what->si_addr : 0; /* unless it was sent */
    const int zone = address >= COLD_START ? COLD : address >= RARE_START ? RARE : SELDOM, error = errno;
    uint32_t number;

    (void)context;
    if (address < SELDOM_START || address >= saved.end[zone] || in_vain == MOST_FAULTS_IN_VAIN) {
        signal(signal_number, SIG_DFL); /* the fault happens again */
        if (address == 0)
            syscall(SYS_tgkill, syscall(SYS_getpid), syscall(SYS_gettid), signal_number);
        return;
    }
    number = (uint32_t)((address - zone_start[zone]) / CHUNK);
    number += (zone != SELDOM ? chunks_of(SELDOM) : 0) + (zone == COLD ? chunks_of(RARE) : 0);
    while (atomic_flag_test_and_set_explicit(&locked, memory_order_acquire))
        syscall(SYS_sched_yield);
    in_vain++;
    if (!is_unpacked[number]) {
        if (!unpack(zone, address & ~(uintptr_t)(CHUNK - 1), number))
            heap_out_of_memory();
        is_unpacked[number] = 1;
        in_vain = 0;
    }
    atomic_flag_clear_explicit(&locked, memory_order_release);
    errno = error;
}

/* The parent may have blocked or ignored the signal. */
void heap_unpack_when_touched(void)
{
    struct sigaction action = {.sa_sigaction = at_fault, .sa_flags = SA_SIGINFO};
    sigset_t fault;

    sigfillset(&action.sa_mask);
    sigaction(SIGSEGV, &action, NULL);
    sigemptyset(&fault);
    sigaddset(&fault, SIGSEGV);
    sigprocmask(SIG_UNBLOCK, &fault, NULL);
}
