/*
 * A program of the tests: uses the allocator of a started process as its argument names. Every use but "as it should"
 * must stop the process.
 */
#include "heap.h"

struct saved saved = {.end = {[COLD] = 2}}; /* started, with an empty saved heap */

void PyObject_SetArenaAllocator(PyObjectArenaAllocator *allocator)
{
    (void)allocator;
}

static int as_it_should(char *one, char *two)
{
    char *large = heap_malloc(1 << 20), *larger;

    memset(large, 'x', 1 << 20);
    heap_free(one);
    if (heap_malloc(100) != one)
        return 1;
    two = heap_realloc(two, 1000);
    larger = heap_realloc(large, 1 << 22);
    two[999] = larger[(1 << 22) - 1] = 'x';
    larger = heap_realloc(larger, 10);
    for (int i = 0; i < 10; i++)
        if (larger[i] != 'x')
            return 1;
    heap_free(two);
    heap_free(larger);
    return 0;
}

int main(int argc, char **argv)
{
    const char *way = argc > 1 ? argv[1] : "";
    char *one, *two;

    if (!heap_begin())
        return 1;
    one = heap_malloc(100);
    two = heap_malloc(100);
    if (strcmp(way, "as it should") == 0)
        return as_it_should(one, two);
    if (strcmp(way, "freed twice") == 0) {
        heap_free(one);
        heap_free(two);
        heap_free(one);
    } else if (strcmp(way, "freed twice, large") == 0) {
        char *large = heap_malloc(1 << 20);
        heap_free(large);
        heap_free(large);
    } else if (strcmp(way, "freed, then resized") == 0) {
        heap_free(one);
        heap_realloc(one, 1000);
    } else if (strcmp(way, "written past its end") == 0) {
        memset(one, 'x', (size_t)(two - one));
        heap_free(two);
    } else if (strcmp(way, "written to when freed") == 0) {
        heap_free(one);
        memset(one, 0, sizeof(void *));
        heap_malloc(100);
        heap_malloc(100);
    } else if (strcmp(way, "never allocated") == 0) {
        heap_free(one + STEP);
    }
    return 0;
}
