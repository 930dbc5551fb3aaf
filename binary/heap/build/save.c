/*
 * The program that runs in the build instead of the plain one: it notes where the memory of each phase
 * begins, and at the end writes the memory into a file, from which write_executable.py makes the
 * executable. There, all of it is in place before main() runs.
 *
 * Saved are the allocator's zones and, between __start_saved_data and __stop_saved_data, the variables
 * of the interpreter. All other variables, those of libc and OpenSSL and those of the heap, are as in
 * any process that has just been started.
 */
#include "heap.h"

#include <internal/pycore_freelist.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>

#include <fcntl.h>
#include <sys/mman.h>

void heap_finalize(void);
int loader_main(int argc, char **argv);
PyObject *PyInit__saved_heap(void);

extern char __start_saved_data[], __stop_saved_data[];
static const char *memory_file = "";

struct saved saved __attribute__((section("saved_header"))) = {.end = {1}};

static PyObject *all_imported(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    if (shrink_interned() < 0)
        return NULL;
    build.imported = build.allocations;
    Py_RETURN_NONE;
}

static PyObject *all_warm(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    build.warm = build.allocations;
    if (forget_interned() < 0)
        return NULL;
    Py_RETURN_NONE;
}

static PyObject *start_with(PyObject *module, PyObject *start)
{
    (void)module;
    saved.start = Py_NewRef(start);
    Py_RETURN_NONE;
}

/* Who wants to be called when a process forks; the program never does. */
static PyObject *forget_fork_handlers(PyObject *module, PyObject *unused)
{
    PyInterpreterState *interpreter = PyInterpreterState_Get();

    (void)module, (void)unused;
    Py_CLEAR(interpreter->before_forkers);
    Py_CLEAR(interpreter->after_forkers_parent);
    Py_CLEAR(interpreter->after_forkers_child);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"all_imported", all_imported, METH_NOARGS, "Tell that what follows may differ from build to build."},
    {"all_warm", all_warm, METH_NOARGS, "Tell that large blocks, from now on, are not to be saved."},
    {"forget_fork_handlers", forget_fork_handlers, METH_NOARGS, "Call no handler before or after a fork."},
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

/* What the last frames have left behind them, and what a start sets again. */
static void forget_thread(void)
{
    char *unused = (char *)saved.thread->datastack_top;

    memset(unused, 0, (size_t)((char *)saved.thread->datastack_limit - unused));
    saved.thread->native_thread_id = 0;
}

/* The bootloader calls this at the end, in place of Py_Finalize(). No Python code is running then,
   so no frame of it is left on the C stack, which is not saved. */
void heap_finalize(void)
{
    int file = open(memory_file, O_WRONLY | O_CREAT | O_TRUNC, 0666), misplaced = 0;

    if (file < 0 || saved.start == NULL)
        Py_FatalError("nothing to save, or nowhere to save it to");
    /* New objects then come from fresh memory, which is written to anyway, not from pages of the heap. */
    _PyObject_ClearFreeLists(&PyInterpreterState_Get()->object_state.freelists, 0);
    saved.thread = PyEval_SaveThread();
    forget_thread();
    pthread_key_create(&saved.keys, NULL);
    for (uintptr_t block = zone_start[TEMPORARY]; block < zones[TEMPORARY].next;
         block += header_of((void *)block)->size)
        if (header_of((void *)block)->number != 0) {
            build.layout[header_of((void *)block)->number] = COLD;
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
    int file = open(name, O_RDWR);
    off_t size = file < 0 ? 0 : lseek(file, 0, SEEK_END);

    if (size > 0) {
        build.layout = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        build.layout_size = build.layout == MAP_FAILED ? 0 : (size_t)size;
    }
    if (file >= 0)
        close(file);
}

/* Arguments: the files of the layout, the memory and the list of what is left out, and whether layout.py is
   going to watch. */
int build_main(int argc, char **argv)
{
    if (argc != 5 || *environ != NULL)
        Py_FatalError("the build's program has other arguments, or anything in its environment");
    read_layout(argv[1]);
    memory_file = argv[2];
    saved.watched = *argv[4] == '1';
    heap_take_arenas();
    return loader_main(argc, argv);
}
