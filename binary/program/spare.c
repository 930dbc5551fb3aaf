/*
 * Spare program headers. The kernel maps what is in the table of segments, which has no room beyond the linker's own
 * entries. Each of these empty notes gets an entry, because its alignment differs from the previous one;
 * write_executable.py uses the entries for the zones of the heap.
 */
__asm__(".section .note.spare1, \"a\", %note\n.balign 4\n.long 0, 0, 0\n"
        ".section .note.spare2, \"a\", %note\n.balign 8\n.long 0, 0, 0, 0\n"
        ".section .note.spare3, \"a\", %note\n.balign 16\n.long 0, 0, 0, 0\n"
        ".section .note.spare4, \"a\", %note\n.balign 32\n.long 0, 0, 0, 0\n"
        ".section .note.spare5, \"a\", %note\n.balign 64\n.long 0, 0, 0, 0\n");
