/* Reads COUNT class maps of the ring NAME in two threads: ring_reader NAME COUNT. Each is of one id all over, the
 * sequence number modulo 251, so any mixture shows. Prints how many each thread read. */
#include "jetseg_ring.h"

#include <pthread.h>
#include <stdlib.h>

static jetseg_ring ring;
static uint64_t wanted;

static void *work(void *result) {
    size_t capacity = jetseg_ring_most_pixels(&ring);
    uint8_t *ids = (uint8_t *)malloc(capacity);
    uint64_t read = 0, last = 0;
    while (read < wanted && !jetseg_ring_ended(&ring)) {
        jetseg_ring_frame frame;
        int found = jetseg_ring_newest(&ring, ids, capacity, &frame);
        if (found == JETSEG_RING_NONE || (found == JETSEG_RING_OK && read && frame.number == last)) continue;
        if (found != JETSEG_RING_OK || frame.height != 120 || frame.width != 161 || frame.captured_at < 1e9) abort();
        if (read && frame.number < last) abort();
        for (size_t i = 0; i < (size_t)frame.height * frame.width; i++)
            if (ids[i] != frame.sequence % 251) abort();
        last = frame.number;
        read++;
    }
    free(ids);
    *(uint64_t *)result = read;
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    int opened = jetseg_ring_open(&ring, arguments[1]);
    if (opened != JETSEG_RING_OK) {
        printf("%d\n", opened);
        return 3;
    }
    wanted = strtoull(arguments[2], NULL, 10);
    uint64_t read[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, work, &read[i]);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    uint8_t byte;
    jetseg_ring_frame frame;
    if (jetseg_ring_newest(&ring, &byte, 1, &frame) != JETSEG_RING_SMALL) return 4;
    jetseg_ring_close(&ring);
    printf("%llu %llu\n", (unsigned long long)read[0], (unsigned long long)read[1]);
    return 0;
}
