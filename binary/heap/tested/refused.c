/*
 * A program of the tests: makes the objects of a Python expression, its argument, immortal like those that are saved.
 */
#include "heap.h"

int main(int argc, char **argv)
{
    PyConfig config;
    PyObject *names, *object, *all;

    (void)argc;
    PyConfig_InitIsolatedConfig(&config);
    config.site_import = 0;
    if (PyStatus_Exception(Py_InitializeFromConfig(&config)))
        return 2;
    PySys_SetObject("stdin", NULL); /* as in warm.py */
    PySys_SetObject("__stdin__", NULL);
    names = PyDict_New();
    object = PyRun_String(argv[1], Py_eval_input, names, names);
    all = Py_BuildValue("[N]", object);
    if (all == NULL)
        PyErr_Print();
    else
        immortalize(NULL, all);
    _exit(all == NULL ? 2 : 0); /* immortal objects are never freed */
}
