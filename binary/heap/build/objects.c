/*
 * Makes saved objects immortal and strips what is not needed at run time.
 *
 * A saved object lives as long as the process. Counting its references would only dirty its page.
 */
#include "heap.h"

#include <internal/pycore_backoff.h>
#include <internal/pycore_code.h>
#include <internal/pycore_global_objects.h>
#include <internal/pycore_interp.h>
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#include <internal/pycore_dict.h>
#pragma GCC diagnostic pop

/* strip_code() and visit() name every object that a code object refers to. */
enum { POINTER = sizeof(void *), NUMBERS = 12 * sizeof(int) };
_Static_assert(offsetof(PyCodeObject, co_consts) == 3 * POINTER && offsetof(PyCodeObject, co_names) == 4 * POINTER &&
                   offsetof(PyCodeObject, co_exceptiontable) == 5 * POINTER &&
                   offsetof(PyCodeObject, co_localsplusnames) == 6 * POINTER + NUMBERS &&
                   offsetof(PyCodeObject, co_linetable) == 11 * POINTER + NUMBERS &&
                   sizeof(PyCodeObject) == 20 * POINTER + NUMBERS,
               "the layout of code objects has changed");
_Static_assert(sizeof(PyFunctionObject) == 18 * POINTER, "the layout of functions has changed");
_Static_assert(sizeof(_Py_CODEUNIT) == 2 && sizeof(_Py_BackoffCounter) == 2, "the layout of instructions has changed");

extern const uint8_t _PyOpcode_Caches[256], _PyOpcode_Deopt[256];

static int make_immortal(PyObject *object, void *context);

/* Use one object for all equal ones. */
static void share(PyObject **object, PyObject *all)
{
    PyObject *first = PyDict_SetDefault(all, *object, *object);

    if (first != NULL)
        Py_SETREF(*object, Py_NewRef(first));
}

/* The first constant of a function is its docstring or None. */
static void forget_documentation(PyCodeObject *code)
{
    PyObject *constants = code->co_consts;
    int is_function = (code->co_flags & CO_OPTIMIZED) && PyUnicode_READ_CHAR(code->co_name, 0) != '<';

    if (is_function && PyTuple_GET_SIZE(constants) > 0 && PyUnicode_Check(PyTuple_GET_ITEM(constants, 0))) {
        Py_DECREF(PyTuple_GET_ITEM(constants, 0));
        PyTuple_SET_ITEM(constants, 0, Py_None);
    }
}

/* Calls name parameters, and super() looks up __class__; no other name of a local variable is used. */
static void forget_local_names(PyCodeObject *code)
{
    int parameters = code->co_argcount + code->co_kwonlyargcount;
    Py_ssize_t size = PyTuple_GET_SIZE(code->co_localsplusnames);
    PyObject *names = PyTuple_New(size);

    for (Py_ssize_t i = 0; names != NULL && i < size; i++) {
        PyObject *name = PyTuple_GET_ITEM(code->co_localsplusnames, i);
        if (i >= parameters && !PyUnicode_EqualToUTF8(name, "__class__"))
            name = Py_GetConstantBorrowed(Py_CONSTANT_EMPTY_STR);
        PyTuple_SET_ITEM(names, i, Py_NewRef(name));
    }
    if (names != NULL)
        Py_SETREF(code->co_localsplusnames, names);
}

/* The interpreter counts the runs of code that is not specialized, which would write to every page of code that a
   check runs. Code that the warm-up has not specialized is never specialized. */
static void freeze_counters(PyCodeObject *code)
{
    _Py_CODEUNIT *instructions = _PyCode_CODE(code);

    for (Py_ssize_t i = 0; i < Py_SIZE(code); i++) {
        int caches = _PyOpcode_Caches[_PyOpcode_Deopt[instructions[i].op.code]];
        if (caches > 0)
            instructions[i + 1].counter.as_counter = UNREACHABLE_BACKOFF;
        i += caches;
    }
}

/* Docstrings, line numbers and names of local variables only appear in tracebacks, which are never printed. */
static void strip_code(PyCodeObject *code, PyObject *all)
{
    Py_SETREF(code->co_linetable, PyBytes_FromStringAndSize(NULL, 0));
    Py_SETREF(code->co_qualname, Py_NewRef(code->co_name));
    forget_documentation(code);
    forget_local_names(code);
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
    Py_CLEAR(function->func_doc);
    Py_CLEAR(function->func_annotations);
    if (function->func_dict != NULL && PyDict_GET_SIZE(function->func_dict) == 0)
        Py_CLEAR(function->func_dict);
    Py_SETREF(function->func_qualname, Py_NewRef(function->func_name));
    strip_code((PyCodeObject *)function->func_code, all);
}

/* A system call must not be the first to access a chunk of a compressed zone (inflate.c): it would fail with EFAULT. An
   object whose content is in its own block has been read before, because no block crosses the end of a chunk. Objects
   that read into a block of their own, and strings with another block for a path, may not be saved. Those that write
   have filled their block before. */
static void refuse_buffer(PyObject *object)
{
    static const char *const readers[] = {"_io.BufferedReader", "_io.BufferedRandom", "mmap.mmap", "array.array"};
    const char *name = Py_TYPE(object)->tp_name;
    int is_refused = PyByteArray_Check(object) && ((PyByteArrayObject *)object)->ob_alloc > 0;

    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        is_refused |= strcmp(name, readers[i]) == 0;
    if (PyUnicode_Check(object) && !PyUnicode_IS_ASCII(object))
        is_refused |= ((PyCompactUnicodeObject *)object)->utf8 != NULL;
    if (is_refused)
        _Py_FatalErrorFormat(__func__, "a %s would be saved, whose buffer a system call could access first", name);
}

/* Mark the names in code as interned again, as they were before forget_interned(). Python interns the name of each
   attribute that is set, and would write to those that are not: 12 pages in a check by gRPC. */
static void intern_names(PyCodeObject *code)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(code->co_names); i++) {
        PyASCIIObject *name = (PyASCIIObject *)PyTuple_GET_ITEM(code->co_names, i);
        if (name->state.interned == SSTATE_NOT_INTERNED)
            name->state.interned = SSTATE_INTERNED_IMMORTAL;
    }
}

static void visit(PyObject *object)
{
    traverseproc traverse = Py_TYPE(object)->tp_traverse;

    refuse_buffer(object);

    if (PyCode_Check(object)) {
        PyCodeObject *code = (PyCodeObject *)object;
        PyObject *parts[] = {code->co_consts, code->co_names, code->co_exceptiontable,
                             code->co_localsplusnames, code->co_localspluskinds, code->co_filename,
                             code->co_name, code->co_qualname, code->co_linetable};
        freeze_counters(code);
        intern_names(code);
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
            if (parts[i] != NULL)
                make_immortal(parts[i], NULL);
    }
    /* A class counts the instances that have its table of names, and whose attributes became a dictionary. */
    if (PyType_Check(object) && PyType_HasFeature((PyTypeObject *)object, Py_TPFLAGS_HEAPTYPE) &&
        ((PyHeapTypeObject *)object)->ht_cached_keys != NULL)
        ((PyHeapTypeObject *)object)->ht_cached_keys->dk_refcnt = _Py_IMMORTAL_REFCNT;
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

PyObject *immortalize(PyObject *module, PyObject *objects)
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

/* Shrink the table of interned strings to its content. The table does not count its references, so adding a string to
   the new table and removing it from the old one cancel out. */
int shrink_interned(void)
{
    PyInterpreterState *interpreter = PyInterpreterState_Get();
    PyObject **table = &_Py_INTERP_CACHED_OBJECT(interpreter, interned_strings);
    PyObject *shrunk = PyDict_New();

    if (shrunk == NULL || PyDict_Update(shrunk, *table) < 0)
        return -1;
    Py_SETREF(*table, shrunk);
    return 0;
}

/* Saved strings need no table: a name that is looked up is compared by content if it is another object. Like
   shrink_interned(), this leaves reference counts unchanged. */
int forget_interned(void)
{
    PyObject **table = &_Py_INTERP_CACHED_OBJECT(PyInterpreterState_Get(), interned_strings);
    PyObject *empty = PyDict_New(), *key, *value;
    Py_ssize_t position = 0;

    if (empty == NULL)
        return -1;
    while (PyDict_Next(*table, &position, &key, &value))
        if (PyUnicode_CHECK_INTERNED(key) == SSTATE_INTERNED_MORTAL) {
            ((PyASCIIObject *)key)->state.interned = SSTATE_NOT_INTERNED;
            Py_INCREF(key);
            Py_INCREF(value);
        }
    Py_SETREF(*table, empty);
    return 0;
}
