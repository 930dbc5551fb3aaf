/*
 * Replaces system functions for PyInstaller's bootloader, which expects libpython as a shared library beside it, an
 * environment through which it talks to its own next process, and /proc. A static program has no library, starts no
 * other process and must not need /proc. link.sh redirects the bootloader's calls to here.
 */
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <sys/auxv.h>

/* api.h, made by link.sh, contains API(name) for each function that the bootloader looks up. */
#define API(name) extern char name[];
#include "api.h"
#undef API

static const struct {
    const char *name;
    void *address;
} api[] = {
#define API(name) {#name, name},
#include "api.h"
#undef API
};

void *loader_dlopen(const char *name, int flags);
void *loader_dlsym(void *handle, const char *name);
int loader_dlclose(void *handle);
const char *loader_dlerror(void);
char *loader_realpath(const char *path, char *resolved);
int loader_execvp(const char *file, char *const argv[]);
char *loader_getenv(const char *name);
int loader_setenv(const char *name, const char *value, int overwrite);
int loader_unsetenv(const char *name);
char *__wrap_setlocale(int category, const char *locale);

void *loader_dlopen(const char *name, int flags)
{
    (void)name, (void)flags;
    return (void *)api;
}

void *loader_dlsym(void *handle, const char *name)
{
    (void)handle;
    for (size_t i = 0; i < sizeof api / sizeof *api; i++)
        if (strcmp(api[i].name, name) == 0)
            return api[i].address;
    return NULL; /* the bootloader also looks up functions of newer Python versions */
}

int loader_dlclose(void *handle)
{
    (void)handle;
    return 0;
}

const char *loader_dlerror(void)
{
    return "not available in a static program";
}

/* The kernel passes each process the path of its program; neither /proc nor PATH is needed. */
char *loader_realpath(const char *path, char *resolved)
{
    const char *self = (const char *)getauxval(AT_EXECFN);

    (void)path;
    if (self == NULL || strlen(self) >= PATH_MAX) {
        errno = ENOENT;
        return NULL;
    }
    return strcpy(resolved, self);
}

/* The bootloader restarts itself to set LD_LIBRARY_PATH. Returning lets it continue. */
int loader_execvp(const char *file, char *const argv[])
{
    (void)file, (void)argv;
    return 0;
}

/* The environment neither controls the bootloader and OpenSSL, nor is changed by them. */
char *loader_getenv(const char *name)
{
    (void)name;
    return NULL;
}

int loader_setenv(const char *name, const char *value, int overwrite)
{
    (void)name, (void)value, (void)overwrite;
    return 0;
}

int loader_unsetenv(const char *name)
{
    (void)name;
    return 0;
}

/* For the whole program: Python is in UTF-8 mode, and the locale files of the system are for another libc. */
char *__wrap_setlocale(int category, const char *locale)
{
    static char c_locale[] = "C";

    (void)category, (void)locale;
    return c_locale;
}
