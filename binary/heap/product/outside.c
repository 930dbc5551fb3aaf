/*
 * Time, alarms, random numbers and data from sockets, for CPython and OpenSSL. link.sh redirects the calls to here. In a
 * started process they go straight to the system. In the build, and when layout.py traces a check, they return the
 * same each time, so that two builds are equal to the byte.
 */
#include "heap.h"

#include <errno.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

int heap_clock_gettime(clockid_t clock, struct timespec *now);
ssize_t heap_getrandom(void *buffer, size_t size, unsigned flags);
int heap_poll(struct pollfd *files, nfds_t count, int timeout);
int heap_getentropy(void *buffer, size_t size);
int heap_setitimer(int which, const struct itimerval *value, struct itimerval *before);
ssize_t heap_recv(int file, void *buffer, size_t size, int flags);
ssize_t heap_read(int file, void *buffer, size_t size);

static int is_build(void)
{
    return !is_started() || saved.watched;
}

/* The clock advances by a microsecond per call, and by the timeout of a wait that ends with it. */
static long microseconds;

int heap_clock_gettime(clockid_t clock, struct timespec *now)
{
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

/* The only source of random numbers for OpenSSL. They seed its generators, whose state must never be saved. */
int heap_getentropy(void *buffer, size_t size)
{
    if (!is_started())
        Py_FatalError("a state of OpenSSL's random number generator would be saved");
    return getentropy(buffer, size);
}

/* In the build, each timeout is 20 times as long, so that a busy machine does not decide what happens. */
int heap_poll(struct pollfd *files, nfds_t count, int timeout)
{
    int ready = poll(files, count, is_build() && timeout > 0 ? 20 * timeout : timeout);

    if (is_build() && ready == 0 && timeout > 0)
        microseconds += timeout * 1000L;
    return ready;
}

/* An alarm would come on the clock of the system, before the end of a wait that is 20 times as long. */
int heap_setitimer(int which, const struct itimerval *value, struct itimerval *before)
{
    if (!is_build())
        return setitimer(which, value, before);
    *before = (struct itimerval){0};
    return 0;
}

/* Makes each response take exactly one wait, like most do, however fast the build's servers are. */
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
