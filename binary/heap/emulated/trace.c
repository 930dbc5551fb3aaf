/*
 * A plug-in for QEMU's user mode emulation: writes the first read and the first write of each word of the heap to file
 * 9, for layout.py.
 *
 * Debian does not package qemu-plugin.h, so the parts that are used are declared here.
 */
#include "constants.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint32_t Access;

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
unsigned qemu_plugin_mem_size_shift(Access access);
bool qemu_plugin_mem_is_store(Access access);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*call)(uint64_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *instruction,
                                      void (*call)(unsigned, Access, uint64_t, void *), int flags, int which,
                                      void *context);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*call)(uint64_t, void *), void *context);
int qemu_plugin_install(uint64_t id, const void *info, int count, char **arguments);

enum { NO_REGISTERS = 0, READS_AND_WRITES = 3 };

int qemu_plugin_version = QEMU_PLUGIN_VERSION;
static FILE *output;

/* Whether an access to a word was new. Two threads may both find that it was. */
static bool is_new(uint64_t word, bool is_store)
{
    static unsigned char seen[2][(HEADERS - HEAP) / 64]; /* a bit for each word; only used pages take memory */
    unsigned char *const bits = &seen[is_store][word / 8];
    const unsigned char bit = (unsigned char)(1u << word % 8);
    const bool was_seen = *bits & bit;

    *bits |= bit;
    return !was_seen;
}

static void accessed(unsigned processor, Access access, uint64_t address, void *context)
{
    (void)processor, (void)context;
    const bool is_store = qemu_plugin_mem_is_store(access);

    for (uint64_t word = address / 8; word <= (address + (1u << qemu_plugin_mem_size_shift(access)) - 1) / 8; word++)
        if (word >= HEAP / 8 && word < HEADERS / 8 && is_new(word - HEAP / 8, is_store))
            fprintf(output, "%c%" PRIx64 "\n", is_store ? 'S' : 'L', word);
}

static void translated(uint64_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++)
        qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(block, i), accessed, NO_REGISTERS,
                                         READS_AND_WRITES, NULL);
}

static void ended(uint64_t id, void *context)
{
    (void)id, (void)context;
    fclose(output);
}

int qemu_plugin_install(uint64_t id, const void *info, int count, char **arguments)
{
    (void)info, (void)count, (void)arguments;
    output = fdopen(9, "w");
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return output == NULL;
}
