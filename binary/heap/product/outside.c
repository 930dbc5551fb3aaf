/*
 * What CPython learns from outside: time, chance, and data from sockets, which OpenSSL reads for
 * itself. link.sh redirects their calls to here. In a started process they go straight on. In the build, and
 * where layout.py watches a check, the answers are the same each time, so that two builds are equal to the byte.
 */
#include "heap.h"

#include <errno.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>

int heap_clock_gettime(clockid_t clock, struct timespec *now);
ssize_t heap_getrandom(void *buffer, size_t size, unsigned flags);
ssize_t heap_recv(int file, void *buffer, size_t size, int flags);
ssize_t heap_read(int file, void *buffer, size_t size);

static int is_build(void)
{
    return !is_started() || saved.watched;
}

/* Time goes on by a microsecond with each call. */
int heap_clock_gettime(clockid_t clock, struct timespec *now)
{
    static long microseconds;

    if (!is_build())
        return clock_gettime(clock, now);
    microseconds++;
    *now = (struct timespec){.tv_sec = 1 + microseconds / 1000000, .tv_nsec = microseconds % 1000000 * 1000};
    return 0;
}

ssize_t heap_getrandom(void *buffer, size_t size, unsigned flags)
{
    if (!is_build())
        return getrandom(buffer, size, flags);
    memset(buffer, 42, size);
    return (ssize_t)size;
}

/* Has each answer waited for once, as most are, however fast a server of the build is. */
static int may_receive(int file)
{
    static int waited_for = -1;
    struct pollfd ready = {.fd = file, .events = POLLIN};

    if (!is_build() || getpid() != build.process)
        return 1;
    if (waited_for != file) {
        waited_for = file;
        errno = EAGAIN;
        return 0;
    }
    waited_for = -1;
    poll(&ready, 1, 5000);
    return 1;
}

ssize_t heap_recv(int file, void *buffer, size_t size, int flags)
{
    return may_receive(file) ? recv(file, buffer, size, flags) : -1;
}

ssize_t heap_read(int file, void *buffer, size_t size)
{
    return may_receive(file) ? read(file, buffer, size) : -1;
}
