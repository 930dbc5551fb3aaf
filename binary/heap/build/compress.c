/*
 * A program of the build: compresses a chunk from its input to its output, as inflate.c unpacks it.
 *
 * The format is that of an LZ4 block: a byte with two lengths of four bits, literal bytes, and two bytes that say how
 * far back the bytes are that are repeated next; a length from 15 on continues in further bytes. The result is the
 * shortest one that its repetitions allow, and does not depend on a library of the machine.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 1 << 16, SHORTEST = 4, LISTS = 1 << 16, TRIES = 1024, LONG = 1024 /* is taken as it is */ };

static unsigned char in[MOST], out[MOST + MOST / 128];
static uint32_t size, longest[MOST], distance[MOST]; /* of the repetition that begins at each byte */
static uint32_t cost[MOST + 1], take[MOST + 1], literals[MOST + 1]; /* from each byte to the end */

static uint32_t list_of(uint32_t at)
{
    uint32_t word;

    memcpy(&word, in + at, sizeof word);
    return word * 2654435761u >> 16;
}

static void find_repetitions(void)
{
    static uint32_t last[LISTS], before[MOST]; /* positions with equal bytes, plus 1 */

    for (uint32_t at = 0; at + SHORTEST <= size; at++) {
        const uint32_t list = list_of(at);
        unsigned tries = TRIES;
        for (uint32_t place = last[list]; place != 0 && tries-- > 0; place = before[place - 1]) {
            uint32_t length = 0;
            while (at + length < size && in[place - 1 + length] == in[at + length])
                length++;
            if (length >= SHORTEST && length > longest[at]) {
                longest[at] = length;
                distance[at] = at - (place - 1);
            }
            if (length > LONG || at + length == size)
                break;
        }
        before[at] = last[list];
        last[list] = at + 1;
    }
}

/* How many bytes a length takes besides its four bits. */
static uint32_t extra(uint32_t length)
{
    return length < 15 ? 0 : 1 + (length - 15) / 255;
}

/* Choose the shortest way from each byte to the end. */
static void choose(void)
{
    for (uint32_t at = size; at-- > 0;) {
        literals[at] = literals[at + 1] + 1;
        cost[at] = cost[at + 1] + 1 + extra(literals[at]) - extra(literals[at + 1]);
        for (uint32_t length = longest[at]; length >= SHORTEST; length = length > LONG ? 0 : length - 1) {
            const uint32_t price = cost[at + length] + 3 + extra(length - SHORTEST);
            if (price < cost[at]) {
                cost[at] = price;
                take[at] = length;
                literals[at] = 0;
            }
        }
    }
}

static unsigned char *put_extra(unsigned char *to, uint32_t length)
{
    if (length < 15)
        return to;
    for (length -= 15; length >= 255; length -= 255)
        *to++ = 255;
    *to++ = (unsigned char)length;
    return to;
}

int main(void)
{
    unsigned char *to = out;

    size = (uint32_t)fread(in, 1, sizeof in, stdin);
    find_repetitions();
    choose();
    for (uint32_t at = 0; at < size;) {
        const uint32_t count = literals[at], next = at + count;
        const uint32_t length = next < size ? take[next] - SHORTEST : 0;
        *to++ = (unsigned char)((count < 15 ? count : 15) << 4 | (length < 15 ? length : 15));
        to = put_extra(to, count);
        memcpy(to, in + at, count);
        to += count;
        at = next;
        if (at < size) {
            *to++ = (unsigned char)distance[at];
            *to++ = (unsigned char)(distance[at] >> 8);
            to = put_extra(to, length);
            at += take[at];
        }
    }
    return fwrite(out, 1, (size_t)(to - out), stdout) != (size_t)(to - out);
}
