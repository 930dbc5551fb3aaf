/*
 * In a started process, OpenSSL's memory also comes from the heap's allocator: with libc's, a check by
 * TLS took 11 % longer. In the build it comes from libc's, as it must not be among what is saved.
 */
#include "heap.h"

#include <openssl/crypto.h>

static void *allocate(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return heap_malloc(size);
}

static void *reallocate(void *block, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return heap_realloc(block, size);
}

static void release(void *block, const char *file, int line)
{
    (void)file, (void)line;
    heap_free(block);
}

int heap_serve_openssl(void)
{
    return CRYPTO_set_mem_functions(allocate, reallocate, release);
}
