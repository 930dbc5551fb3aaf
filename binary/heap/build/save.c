/*
 * The build's side of the saved heap: records where the memory of each phase begins, and finally writes the memory to a
 * file, from which write_executable.py makes the executable.
 *
 * The file contains the allocator's zones and the interpreter's variables, which are between __start_saved_data and
 * __stop_saved_data. All other variables, those of libc, OpenSSL and the heap, start like in any new process.
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
extern int _PyType_KeepsCache; /* see saved-method-cache.patch */
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

/* Drop the registered fork handlers; the program never forks. */
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
    {"all_imported", all_imported, METH_NOARGS, "Mark the point from which allocations may differ between builds."},
    {"all_warm", all_warm, METH_NOARGS, "Mark the point from which large blocks are not saved."},
    {"environment", heap_environment, METH_NOARGS, "Return all variables of the environment."},
    {"forget_fork_handlers", forget_fork_handlers, METH_NOARGS, "Drop the registered fork handlers."},
    {"immortalize", immortalize, METH_O, "Make the objects in a list, and all that they refer to, immortal."},
    {"set_up_openssl", set_up_openssl, METH_O, "Let OpenSSL set up what TLS needs, and verify PEM certificates."},
    {"start_with", start_with, METH_O, "Set the function that a process started from the saved heap calls."},
    {"variable", heap_variable, METH_O, "Return the value of a variable of the environment, or None."},
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

/* A record is an address, a size and the content. */
static void write_memory(int file, const void *from, size_t size)
{
    uint64_t head[2] = {(uintptr_t)from, size};

    write_all(file, head, sizeof head);
    write_all(file, from, size);
}

/* The blocks and, only for layout.py, their headers. */
static void write_zone(int file, int zone)
{
    size_t size = zones[zone].next - zone_start[zone];

    if (zones[zone].end != 0) {
        write_memory(file, (void *)zone_start[zone], size);
        write_memory(file, (void *)(zone_start[zone] + AWAY), size);
    }
}

/* Clear the remains of the last frames, and the number that each start sets. */
static void forget_thread(void)
{
    char *unused = (char *)saved.thread->datastack_top;

    memset(unused, 0, (size_t)((char *)saved.thread->datastack_limit - unused));
    saved.thread->native_thread_id = 0;
}

enum { MOST_MISPLACED = 500 };

/* Count the live blocks that were free in the previous run, and with `note`, move them to zone COLD in the layout. */
static unsigned misplaced(int note)
{
    unsigned count = 0;

    for (uintptr_t block = zone_start[TEMPORARY]; block < zones[TEMPORARY].next;
         block += header_of((void *)block)->size) {
        uint32_t number = header_of((void *)block)->number;
        if (number != 0) {
            count++;
            if (note)
                build.layout[number] = COLD;
        }
    }
    return count;
}

/* The bootloader calls this at the end instead of Py_Finalize(). No Python code is running, so there is no frame on the
   C stack, which is not saved. */
void heap_finalize(void)
{
    int file = open(memory_file, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    size_t touched = 0, seldom = 0;

    if (file < 0 || saved.start == NULL)
        Py_FatalError("no start function to save, or the memory file cannot be written");
    /* New objects then come from fresh memory instead of clean pages of the heap. */
    _PyObject_ClearFreeLists(&PyInterpreterState_Get()->object_state.freelists, 0);
    _PyType_KeepsCache = 1;
    saved.thread = PyEval_SaveThread();
    forget_thread();
    pthread_key_create(&saved.keys, NULL);
    if (misplaced(0) > MOST_MISPLACED)
        Py_FatalError("the runs allocate in different orders");
    if (misplaced(1) > 0)
        Py_FatalError("a block is live that was free in the previous run; the layout has been updated");
    for (int zone = 0; zone < TEMPORARY; zone++) {
        for (unsigned bin = 0; bin < BINS; bin++) {
            for (char *block = zones[zone].freed[bin], *next; block != NULL; block = next) {
                next = *(void **)block;
                memset(block, 0, header_of(block)->size);
            }
        }
        write_zone(file, zone);
    }
    for (int zone = 0; zone < TEMPORARY; zone++) {
        saved.end[zone] = zones[zone].next;
        if (zone != COLD && zones[zone].end != 0)
            *(zone == SELDOM || zone == RARE ? &seldom : &touched) += zones[zone].next - zone_start[zone];
    }
    if (seldom > MOST_SELDOM)
        Py_FatalError("the zones that few checks touch are larger than their limit in constants.py");
    if (touched > MOST_TOUCHED)
        Py_FatalError("the zones that checks touch are larger than their limit in constants.py");
    write_memory(file, __start_saved_data, (size_t)(__stop_saved_data - __start_saved_data));
    write_memory(file, &saved, sizeof saved);
    close(file);
    fprintf(stderr, "allocations: %u\n", build.imported);
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

/* Arguments: the files of the layout, the memory and the list of dropped functions; 1 if layout.py will trace the
   result. */
int build_main(int argc, char **argv)
{
    if (argc != 5 || *environ != NULL)
        Py_FatalError("unexpected arguments, or a non-empty environment, in the build run");
    read_layout(argv[1]);
    memory_file = argv[2];
    saved.watched = *argv[4] == '1';
    heap_take_arenas();
    return loader_main(argc, argv);
}
