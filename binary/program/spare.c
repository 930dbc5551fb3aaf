/*
 * Program headers to spare. What the kernel maps must be in the program's table of segments, which has no
 * room for more than the linker puts there. Each of these notes, which are empty and never read,
 * is entered in the table, as its alignment differs from the one before; write_executable.py then uses the
 * entry for a zone of the heap.
 */
__asm__(".section .note.spare1, \"a\", @note\n.balign 4\n.long 0, 0, 0\n"
        ".section .note.spare2, \"a\", @note\n.balign 8\n.long 0, 0, 0, 0\n"
        ".section .note.spare3, \"a\", @note\n.balign 16\n.long 0, 0, 0, 0\n");
