/*
 * Makes the objects that are saved immortal, and what they say to nobody go.
 *
 * A saved object lives as long as the process. Counting its references would only dirty its page.
 */
#include "heap.h"

#include <internal/pycore_global_objects.h>
#include <internal/pycore_interp.h>

/* All that a code object refers to is known here: strip_code() and visit() name each part. */
_Static_assert(offsetof(PyCodeObject, co_consts) == 24 && offsetof(PyCodeObject, co_names) == 32 &&
                   offsetof(PyCodeObject, co_exceptiontable) == 40 &&
                   offsetof(PyCodeObject, co_localsplusnames) == 96 &&
                   offsetof(PyCodeObject, co_linetable) == 136 && sizeof(PyCodeObject) == 208,
               "a code object has other parts");
_Static_assert(sizeof(PyFunctionObject) == 144, "a function has other parts");

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

/* Make the table of interned strings no larger than what is left in it. A string is not counted as
   referred to by the table, so taking it into the new one and out of the old one cancel out. */
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
