/*
 * The saved heap: an allocator whose memory can be written into an executable, the code that
 * writes it, and the start of a process from it. docs/saved-heap.md tells how it all fits together.
 *
 * In the build, the program runs as usual with the allocator below. When it has imported and warmed
 * up everything it ends, and save() writes its memory into a file, from which write_executable.py
 * makes the executable. There, all of it is in place before main() runs.
 *
 * Saved are this allocator's zones and, between __start_saved_data and __stop_saved_data, the
 * variables of the interpreter. All other variables, those of libc and OpenSSL and those in this
 * file, are as in any process that has just been started.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <internal/pycore_global_objects.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

void *heap_malloc(size_t size);
void *heap_calloc(size_t count, size_t size);
void *heap_realloc(void *block, size_t size);
void heap_free(void *block);
void heap_finalize(void);
int loader_main(int argc, char **argv);
PyObject *PyInit__saved_heap(void);

/* ---- the allocator ------------------------------------------------------------------------- */

/*
 * Each block has a header, and comes from the end of a zone or from a list of freed blocks of its
 * size. What a plain HTTP check writes to, what it only reads, what other checks touch besides, and
 * the rest lie in zones of their own, so that a check touches few pages. What the build frees before
 * it saves lies in a zone that is not saved. layout.py learns which block belongs where from a first
 * build.
 *
 * In a started process, the header stands in front of the block. In the build, it stands AWAY behind
 * the block: what has been saved is never freed, so that its header need not be saved.
 */
typedef struct {
    uint32_t size;   /* of the block, with the header where that is in front of it */
    uint32_t number; /* of the allocation, counted from the start of the process; 0 when freed */
} Header;

enum { COLD, WRITTEN, READ, OTHER, TEMPORARY, FRESH, ZONES }; /* as in layout.py */
enum { STEP = 16, WORD = 8, SMALL = 1024, LARGE = 64 * 1024, BINS = SMALL / WORD + 1 + 8 * 32, GROWTH = 1 << 20 };
static const size_t AWAY = 0x100000000; /* as in write_executable.py */

/* Above all that the kernel may put behind the program; fresh memory may lie anywhere. */
static const uintptr_t zone_start[FRESH] = {0x110000000, 0x100000000, 0x108000000, 0x10c000000,
                                             0x120000000};
static struct {
    uintptr_t next, end; /* unused memory */
    void *freed[BINS];
} zones[ZONES];

static atomic_flag locked = ATOMIC_FLAG_INIT;
static uint32_t allocations, imported = UINT32_MAX, warm = UINT32_MAX;
static unsigned char *layout; /* the zone of each allocation, or NULL */
static size_t layout_size;
static char first_memory[256 * 1024] __attribute__((aligned(4096)));

/* What a started process needs to know; filled in by save(). */
static struct {
    uintptr_t end[TEMPORARY]; /* of the saved zones, of which COLD is the last one */
    pthread_key_t keys;
    PyThreadState *thread;
    PyObject *start;
} saved __attribute__((section("saved_header"))) = {.end = {1}};

static int is_started(void)
{
    return saved.end[COLD] > 1;
}

static void lock(void)
{
    while (atomic_flag_test_and_set_explicit(&locked, memory_order_acquire))
        sched_yield();
}

static void unlock(void)
{
    atomic_flag_clear_explicit(&locked, memory_order_release);
}

static Header *header_of(void *block)
{
    return is_started() ? (Header *)block - 1 : (Header *)((char *)block + AWAY);
}

static int is_saved(const void *block)
{
    return is_started() && (uintptr_t)block >= zone_start[WRITTEN] && (uintptr_t)block < saved.end[COLD];
}

/* Small sizes are multiples of a step; above, each power of two is divided into eight. */
static size_t block_size(size_t size)
{
    const size_t header = is_started() ? sizeof(Header) : 0, step = is_started() ? STEP : WORD;
    unsigned shift;

    size = size == 0 ? step : (size + header + step - 1) & ~(step - 1);
    if (size <= SMALL)
        return size;
    shift = 63 - 3 - (unsigned)__builtin_clzl(size - 1);
    return (((size - 1) >> shift) + 1) << shift;
}

static unsigned bin_of(size_t block_size)
{
    unsigned shift;

    if (block_size <= SMALL)
        return (unsigned)(block_size / WORD);
    shift = 63 - 3 - (unsigned)__builtin_clzl(block_size - 1);
    return SMALL / WORD + 1 + 8 * (shift - 7) + (unsigned)((block_size >> shift) - 9);
}

static int grow(int zone, size_t size)
{
    size_t length = (size + GROWTH - 1) & ~(size_t)(GROWTH - 1);
    uintptr_t at = zones[zone].end;
    void *memory;

    if (zone == FRESH && at == 0 && size < sizeof first_memory) {
        memory = first_memory;
        length = sizeof first_memory;
    } else if (zone == FRESH) {
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

/* The zone of an allocation of the build. While modules are imported, one run is like the other;
   what comes later depends on how fast servers answer, and may have to be saved after all. */
static int zone_of(uint32_t number, size_t size)
{
    int zone = number < layout_size ? layout[number] : COLD;

    if (number > warm)
        return size > SMALL ? TEMPORARY : COLD;
    return zone == TEMPORARY && number > imported ? COLD : zone;
}

static void *allocate(size_t size)
{
    size_t rounded = block_size(size);
    unsigned bin = bin_of(rounded);
    int zone = FRESH;
    void *block;

    allocations++;
    if (!is_started())
        zone = zone_of(allocations, rounded);
    block = zones[zone].freed[bin];
    if (block != NULL) {
        zones[zone].freed[bin] = *(void **)block;
    } else {
        if (zones[zone].end - zones[zone].next < rounded && !grow(zone, rounded + STEP))
            return NULL;
        block = (void *)zones[zone].next;
        zones[zone].next += rounded;
    }
    header_of(block)->size = (uint32_t)rounded;
    header_of(block)->number = allocations;
    if (!is_started())
        memset(block, 0, rounded); /* no remains of earlier blocks are saved */
    return block;
}

/* Large blocks come from the kernel and go back to it; none of them is ever saved. */
static size_t large_size(size_t size)
{
    return (size + STEP + 4095) & ~(size_t)4095;
}

static void *allocate_large(size_t size)
{
    char *memory = mmap(NULL, large_size(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                        -1, 0);

    if (memory == MAP_FAILED)
        return NULL;
    *(size_t *)memory = large_size(size);
    header_of(memory + STEP)->size = 0;
    return memory + STEP;
}

void *heap_malloc(size_t size)
{
    void *block;

    if (size > UINT32_MAX / 2) {
        errno = ENOMEM;
        return NULL;
    }
    if (size >= LARGE && is_started())
        return allocate_large(size);
    lock();
    block = allocate(size);
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
    unsigned bin;
    int zone;
    Header *header;

    if (block == NULL || is_saved(block))
        return;
    header = header_of(block);
    if (header->size == 0) {
        char *memory = (char *)block - STEP;
        munmap(memory, *(size_t *)memory);
        return;
    }
    lock();
    bin = bin_of(header->size);
    zone = is_started() ? FRESH : zone_of(header->number, header->size);
    header->number = 0;
    *(void **)block = zones[zone].freed[bin];
    zones[zone].freed[bin] = block;
    unlock();
}

/* How much can be read from a saved block on, whose size is not known any more. */
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
    if (is_saved(block)) {
        old = readable(block);
    } else if (header_of(block)->size == 0) {
        char *memory = (char *)block - STEP;
        old = *(size_t *)memory;
        if (size >= LARGE && size <= UINT32_MAX / 2) {
            memory = mremap(memory, old, large_size(size), MREMAP_MAYMOVE);
            if (memory == MAP_FAILED)
                return NULL;
            *(size_t *)memory = large_size(size);
            return memory + STEP;
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

/* Python's stack frames; they are part of what is saved. */
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

/* ---- saving -------------------------------------------------------------------------------- */

extern char __start_saved_data[], __stop_saved_data[];
static const char *memory_file = "";

/* A saved object lives as long as the process. Counting its references would only dirty its page. */
static int make_immortal(PyObject *object, void *context);

/* One object for all that are equal. */
static void share(PyObject **object, PyObject *all)
{
    PyObject *first = PyDict_SetDefault(all, *object, *object);

    if (first != NULL)
        Py_SETREF(*object, Py_NewRef(first));
}

/* Documentation and line numbers are for those who read tracebacks; nobody does here. */
static void strip_code(PyCodeObject *code, PyObject *all)
{
    Py_SETREF(code->co_linetable, PyBytes_FromStringAndSize(NULL, 0));
    Py_SETREF(code->co_qualname, Py_NewRef(code->co_name));
    share(&code->co_names, all);
    share(&code->co_localsplusnames, all);
    share(&code->co_localspluskinds, all);
    share(&code->co_exceptiontable, all);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(code->co_consts); i++)
        if (PyCode_Check(PyTuple_GET_ITEM(code->co_consts, i)))
            strip_code((PyCodeObject *)PyTuple_GET_ITEM(code->co_consts, i), all);
}

static void strip(PyFunctionObject *function, PyObject *all)
{
    PyObject *constants = ((PyCodeObject *)function->func_code)->co_consts;

    if (function->func_doc != NULL && PyTuple_GET_SIZE(constants) > 0 &&
        function->func_doc == PyTuple_GET_ITEM(constants, 0)) {
        Py_DECREF(function->func_doc);
        PyTuple_SET_ITEM(constants, 0, Py_None);
    }
    Py_CLEAR(function->func_doc);
    Py_CLEAR(function->func_annotations);
    Py_SETREF(function->func_qualname, Py_NewRef(function->func_name));
    strip_code((PyCodeObject *)function->func_code, all);
}

static void visit(PyObject *object)
{
    traverseproc traverse = Py_TYPE(object)->tp_traverse;

    if (PyCode_Check(object)) {
        PyCodeObject *code = (PyCodeObject *)object;
        PyObject *parts[] = {code->co_consts, code->co_names, code->co_exceptiontable,
                             code->co_localsplusnames, code->co_localspluskinds, code->co_filename,
                             code->co_name, code->co_qualname, code->co_linetable};
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            if (parts[i] != NULL)
                make_immortal(parts[i], NULL);
    }
    if (traverse != NULL && PyObject_IS_GC(object))
        traverse(object, make_immortal, NULL);
}

static int make_immortal(PyObject *object, void *context)
{
    (void)context;
    if (object->ob_refcnt == _Py_IMMORTAL_REFCNT)
        return 0;
    object->ob_refcnt = _Py_IMMORTAL_REFCNT;
    visit(object);
    return 0;
}

static PyObject *immortalize(PyObject *module, PyObject *objects)
{
    PyObject *all = PyDict_New();

    (void)module;
    if (all == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(objects); i++)
        if (PyFunction_Check(PyList_GET_ITEM(objects, i)))
            strip((PyFunctionObject *)PyList_GET_ITEM(objects, i), all);
    Py_DECREF(all);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(objects); i++) {
        PyObject *object = PyList_GET_ITEM(objects, i);
        object->ob_refcnt = _Py_IMMORTAL_REFCNT;
        visit(object);
    }
    Py_RETURN_NONE;
}

/* Make the table of interned strings no larger than what is left in it. A string is not counted as
   referred to by the table, so taking it into the new one and out of the old one cancel out. */
static int shrink_interned(void)
{
    PyInterpreterState *interpreter = PyInterpreterState_Get();
    PyObject **table = &_Py_INTERP_CACHED_OBJECT(interpreter, interned_strings);
    PyObject *shrunk = PyDict_New();

    if (shrunk == NULL || PyDict_Update(shrunk, *table) < 0)
        return -1;
    Py_SETREF(*table, shrunk);
    return 0;
}

static PyObject *all_imported(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (shrink_interned() < 0)
        return NULL;
    imported = allocations;
    Py_RETURN_NONE;
}

static PyObject *all_warm(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    warm = allocations;
    Py_RETURN_NONE;
}

static PyObject *start_with(PyObject *module, PyObject *start)
{
    (void)module;
    saved.start = Py_NewRef(start);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"all_imported", all_imported, METH_NOARGS, "Tell that what follows may differ from build to build."},
    {"all_warm", all_warm, METH_NOARGS, "Tell that large blocks, from now on, are not to be saved."},
    {"immortalize", immortalize, METH_O, "Make the objects in a list, and what they refer to, immortal."},
    {"start_with", start_with, METH_O, "Set what a process started from the saved heap calls."},
    {0},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "_saved_heap", .m_methods = methods};

PyObject *PyInit__saved_heap(void)
{
    return PyModule_Create(&definition);
}

static void write_all(int file, const void *from, size_t size)
{
    while (size > 0) {
        ssize_t written = write(file, from, size);
        if (written <= 0)
            Py_FatalError("the heap cannot be written");
        from = (const char *)from + written;
        size -= (size_t)written;
    }
}

/* One record: address and size, then the memory. */
static void write_memory(int file, const void *from, size_t size)
{
    uint64_t head[2] = {(uintptr_t)from, size};

    write_all(file, head, sizeof head);
    write_all(file, from, size);
}

/* The blocks, and their headers, which are for layout.py only. */
static void write_zone(int file, int zone)
{
    size_t size = zones[zone].next - zone_start[zone];

    if (zones[zone].end != 0) {
        write_memory(file, (void *)zone_start[zone], size);
        write_memory(file, (void *)(zone_start[zone] + AWAY), size);
    }
}

/* The bootloader calls this at the end, in place of Py_Finalize(). No Python code is running then,
   so no frame of it is left on the C stack, which is not saved. */
void heap_finalize(void)
{
    int file = open(memory_file, O_WRONLY | O_CREAT | O_TRUNC, 0666), misplaced = 0;

    if (file < 0 || saved.start == NULL)
        Py_FatalError("nothing to save, or nowhere to save it to");
    PyOS_BeforeFork();
    saved.thread = PyEval_SaveThread();
    pthread_key_create(&saved.keys, NULL);
    for (uintptr_t block = zone_start[TEMPORARY]; block < zones[TEMPORARY].next;
         block += header_of((void *)block)->size)
        if (header_of((void *)block)->number != 0) {
            layout[header_of((void *)block)->number] = COLD;
            misplaced = 1;
        }
    if (misplaced)
        Py_FatalError("a block lives that was free in the run before; the layout says so now");
    for (int zone = 0; zone < TEMPORARY; zone++) {
        for (unsigned bin = 0; bin < BINS; bin++) {
            for (char *block = zones[zone].freed[bin], *next; block != NULL; block = next) {
                next = *(void **)block;
                memset(block, 0, header_of(block)->size);
            }
        }
        write_zone(file, zone);
    }
    for (int zone = 0; zone < TEMPORARY; zone++)
        saved.end[zone] = zones[zone].next;
    write_memory(file, __start_saved_data, (size_t)(__stop_saved_data - __start_saved_data));
    write_memory(file, &saved, sizeof saved);
    close(file);
    _exit(0);
}

static void read_layout(const char *name)
{
    int file = name == NULL ? -1 : open(name, O_RDWR);
    off_t size = file < 0 ? 0 : lseek(file, 0, SEEK_END);

    if (size > 0) {
        layout = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        layout_size = layout == MAP_FAILED ? 0 : (size_t)size;
    }
    if (file >= 0)
        close(file);
}

/* ---- starting ------------------------------------------------------------------------------ */

enum { CLOSED, OPEN, TERMINAL }; /* as in start.py */

extern char **environ;

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

/* As in the child of a fork, only that the parent ended long ago. */
static int start(int argc, char **argv)
{
    pthread_key_t key = 0;
    PyObject *argument_list, *variables, *result = NULL;
    int streams[3];

    /* Python's thread-local variables are found under the same keys as in the saved process. */
    while (key + 1 < saved.keys)
        if (pthread_key_create(&key, NULL) != 0)
            return 1;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    for (int file = 0; file < 3; file++)
        streams[file] = fcntl(file, F_GETFD) < 0 ? CLOSED : isatty(file) ? TERMINAL : OPEN;
    PyThread_tss_set(&_PyRuntime.autoTSSkey, saved.thread);
    PyEval_RestoreThread(saved.thread);
    PyOS_AfterFork_Child();

    argument_list = arguments(argc, argv);
    variables = environment();
    if (argument_list != NULL && variables != NULL)
        result = PyObject_CallFunction(saved.start, "OO(iii)i", argument_list, variables, streams[0],
                                       streams[1], streams[2], PyOS_getsig(SIGINT) == SIG_IGN);
    if (result == NULL)
        PyErr_Print();
    return 1; /* what is called ends the process by itself */
}

int main(int argc, char **argv)
{
    PyObjectArenaAllocator arenas = {NULL, arena_alloc, arena_free};

    if (is_started())
        return start(argc, argv);
    if (getenv("SAVED_HEAP") != NULL)
        memory_file = getenv("SAVED_HEAP");
    read_layout(getenv("SAVED_HEAP_LAYOUT"));
    PyObject_SetArenaAllocator(&arenas);
    return loader_main(argc, argv);
}
