/*
 * Protects both programs from a hostile peer. Set up before main() runs.
 *
 * OpenSSL decodes a certificate before it verifies it, and some certificates of 45 KB take seconds and hundreds of
 * megabytes (CVE-2026-35189). No Python code runs in the meantime, so no limit in Python helps. OpenSSL gives up when an
 * allocation fails. So allocations fail when one call has used too much memory, and while a signal, such as the alarm at
 * the end of the timeout, is pending for Python.
 *
 * With the saved heap, OpenSSL's memory comes from the heap's allocator: its initial state is saved, and with libc's, a
 * TLS check took 11 % longer.
 */
#ifdef SAVED_HEAP
#include "heap.h"
#else
#include <Python.h>
#define heap_malloc malloc
#define heap_realloc realloc
#define heap_free free
#define heap_size malloc_usable_size
#endif

#include <internal/pycore_runtime.h>

#include <limits.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <sys/prctl.h>

#define MOST_OF_A_CALL (8 << 20)
#define UNLIMITED (LONG_MIN / 2)

/* The memory that the current call of OpenSSL has allocated on this thread, less what it has freed. */
static _Thread_local long taken = UNLIMITED;

/* Only calls that process a peer's bytes are limited, not those that read the user's files. link.sh redirects them. */
#define LIMITED(name, parameters, ...)       \
    int __real_##name parameters;            \
    int __wrap_##name parameters;            \
    int __wrap_##name parameters             \
    {                                        \
        int result;                          \
        taken = 0;                           \
        result = __real_##name(__VA_ARGS__); \
        taken = UNLIMITED;                   \
        return result;                       \
    }
LIMITED(SSL_do_handshake, (SSL *session), session)
LIMITED(SSL_read_ex, (SSL *session, void *data, size_t size, size_t *count), session, data, size, count)
LIMITED(SSL_write_ex, (SSL *session, const void *data, size_t size, size_t *count), session, data, size, count)

/* OpenSSL queries the features of the processor when it is set up, and in the saved heap, that was in the build. Every
   use of it begins with a context. */
void OPENSSL_cpuid_setup(void); /* does nothing the next time */
SSL_CTX *__real_SSL_CTX_new(const SSL_METHOD *method);
SSL_CTX *__wrap_SSL_CTX_new(const SSL_METHOD *method);

SSL_CTX *__wrap_SSL_CTX_new(const SSL_METHOD *method)
{
    OPENSSL_cpuid_setup();
    return __real_SSL_CTX_new(method);
}

static long size_of(void *block)
{
    if (block == NULL)
        return 0;
    return (long)heap_size(block);
}

static int may_take(size_t size)
{
    return size <= PTRDIFF_MAX / 4 && taken + (long)size <= MOST_OF_A_CALL &&
           !__atomic_load_n(&_PyRuntime.signals.is_tripped, __ATOMIC_RELAXED);
}

static void *allocate(size_t size, const char *file, int line)
{
    void *block = NULL;

    (void)file, (void)line;
    if (may_take(size))
        block = heap_malloc(size);
    taken += size_of(block);
    return block;
}

static void *reallocate(void *block, size_t size, const char *file, int line)
{
    long before = size_of(block);
    void *new = NULL;

    (void)file, (void)line;
    if (may_take(size))
        new = heap_realloc(block, size);
    if (new != NULL)
        taken += size_of(new) - before;
    return new;
}

static void release(void *block, const char *file, int line)
{
    (void)file, (void)line;
    taken -= size_of(block);
    heap_free(block);
}

/* Memory contains credentials: write no core file, and let no other process of the user read it. The kernel resets this
   when the process executes another program. */
__attribute__((constructor)) static void guard(void)
{
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (!CRYPTO_set_mem_functions(allocate, reallocate, release))
        __builtin_trap(); /* OpenSSL has allocated already */
}
