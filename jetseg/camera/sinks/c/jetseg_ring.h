/* Reads class maps that `jetseg run --ring NAME` gives in shared memory, from C or C++ on Linux.
 *
 *     jetseg_ring ring;
 *     if (jetseg_ring_open(&ring, "front") != JETSEG_RING_OK) ...
 *     uint8_t *ids = malloc(jetseg_ring_most_pixels(&ring));
 *     jetseg_ring_frame frame;
 *     if (jetseg_ring_newest(&ring, ids, jetseg_ring_most_pixels(&ring), &frame) == JETSEG_RING_OK)
 *         use(ids, frame.width, frame.height);
 *     jetseg_ring_close(&ring);
 *
 * Several threads may read through one jetseg_ring, each into a buffer of its own.
 *
 * The layout, version 1, little endian:
 *
 *     offset  type     header, 64 bytes
 *     0       char[8]  "JETSEGCM"
 *     8       u32      version of the layout
 *     12      u32      slots
 *     16      u32      bytes of a slot, its header included
 *     20      u32      process id of the writer, which holds an open file description lock while it lives
 *     24      u64      class maps written so far; number n (from 0) is in slot n % slots
 *     32      u32      1 after the writer has ended
 *
 *     offset  type     slot, at 64 + slot * bytes of a slot
 *     0       u64      number of the class map, plus 1; 0 while it is being written
 *     8       u64      sequence number of the frame
 *     16      f64      Unix time, in seconds, at which the frame was captured
 *     24      u32      height
 *     28      u32      width
 *     32      u32      CRC-32 of the 32 bytes before it, followed by the ids
 *     64      u8[]     class ids, row by row
 *
 * A copy is taken only if its CRC is right, so no mixture of two class maps is ever given, whatever the processor
 * reorders. License: that of jetseg.
 */
#ifndef JETSEG_RING_H
#define JETSEG_RING_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

#define JETSEG_RING_VERSION 1
#ifndef F_OFD_GETLK
#define F_OFD_GETLK 36 /* Linux's; hidden without _GNU_SOURCE */
#endif

enum {
    JETSEG_RING_OK = 0,
    JETSEG_RING_NONE = 1,     /* no class map yet, or the writer is far too fast for this reader */
    JETSEG_RING_ABSENT = -1,  /* there is no such ring */
    JETSEG_RING_FOREIGN = -2, /* it is something else, or of another version */
    JETSEG_RING_SMALL = -3    /* the buffer is too small for the class map */
};

typedef struct {
    uint8_t *memory; /* mapped read-only */
    size_t size;
    uint32_t slots, slot_bytes;
    int file;
    char path[128];
    uint32_t crc_table[256];
} jetseg_ring;

typedef struct {
    uint64_t number;    /* counts the class maps of the writer, from 0 */
    uint64_t sequence;  /* of the frame */
    double captured_at; /* Unix time, in seconds */
    uint32_t height, width;
} jetseg_ring_frame;

static inline uint32_t jetseg_ring_u32_(const uint8_t *from) { return __atomic_load_n((const uint32_t *)(const void *)from, __ATOMIC_ACQUIRE); }

static inline uint64_t jetseg_ring_u64_(const uint8_t *from) { return __atomic_load_n((const uint64_t *)(const void *)from, __ATOMIC_ACQUIRE); }

/* Copies memory that another process may be writing, word by word; `from` lies at a multiple of 8. */
static inline void jetseg_ring_copy_(uint8_t *to, const uint8_t *from, size_t bytes) {
    size_t at = 0;
    for (; at + 8 <= bytes; at += 8) {
        uint64_t word = __atomic_load_n((const uint64_t *)(const void *)(from + at), __ATOMIC_RELAXED);
        memcpy(to + at, &word, 8);
    }
    for (; at < bytes; at++) to[at] = __atomic_load_n(from + at, __ATOMIC_RELAXED);
}

static inline uint32_t jetseg_ring_crc_(const jetseg_ring *ring, uint32_t crc, const uint8_t *bytes, size_t count) {
    crc = ~crc;
    for (size_t i = 0; i < count; i++) crc = ring->crc_table[(crc ^ bytes[i]) & 0xff] ^ (crc >> 8);
    return ~crc;
}

/* Opens a ring by the name that the writer was given. */
static inline int jetseg_ring_open(jetseg_ring *ring, const char *name) {
    struct stat status;
    memset(ring, 0, sizeof *ring);
    if (snprintf(ring->path, sizeof ring->path, "/dev/shm/%s", name) >= (int)sizeof ring->path) return JETSEG_RING_ABSENT;
    ring->file = open(ring->path, O_RDONLY | O_CLOEXEC);
    if (ring->file < 0) return JETSEG_RING_ABSENT;
    void *memory = MAP_FAILED;
    if (fstat(ring->file, &status) == 0 && status.st_size >= 64) {
        ring->size = (size_t)status.st_size;
        memory = mmap(NULL, ring->size, PROT_READ, MAP_SHARED, ring->file, 0);
    }
    if (memory == MAP_FAILED) {
        close(ring->file);
        return JETSEG_RING_FOREIGN;
    }
    ring->memory = (uint8_t *)memory;
    ring->slots = jetseg_ring_u32_(ring->memory + 12);
    ring->slot_bytes = jetseg_ring_u32_(ring->memory + 16);
    if (memcmp(ring->memory, "JETSEGCM", 8) != 0 || jetseg_ring_u32_(ring->memory + 8) != JETSEG_RING_VERSION ||
        ring->slots == 0 || ring->slot_bytes <= 64 || ring->slot_bytes % 64 != 0 ||
        (uint64_t)ring->slots * ring->slot_bytes + 64 > ring->size) {
        munmap(memory, ring->size);
        close(ring->file);
        return JETSEG_RING_FOREIGN;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320u ^ (crc >> 1) : crc >> 1;
        ring->crc_table[byte] = crc;
    }
    return JETSEG_RING_OK;
}

/* Returns the bytes that any class map of the ring fits into. */
static inline size_t jetseg_ring_most_pixels(const jetseg_ring *ring) { return ring->slot_bytes - 64; }

/* Returns how many class maps were written so far; when it has grown, there is a newer one. */
static inline uint64_t jetseg_ring_written(const jetseg_ring *ring) { return jetseg_ring_u64_(ring->memory + 24); }

/* Copies the newest class map. */
static inline int jetseg_ring_newest(const jetseg_ring *ring, uint8_t *ids, size_t capacity, jetseg_ring_frame *frame) {
    for (int attempt = 0; attempt < 8; attempt++) {
        uint64_t written = jetseg_ring_written(ring), number;
        uint8_t details[40];
        uint32_t crc;
        if (written == 0) return JETSEG_RING_NONE;
        const uint8_t *slot = ring->memory + 64 + (written - 1) % ring->slots * ring->slot_bytes;
        jetseg_ring_copy_(details, slot, sizeof details);
        memcpy(&number, details, 8);
        memcpy(&frame->sequence, details + 8, 8);
        memcpy(&frame->captured_at, details + 16, 8);
        memcpy(&frame->height, details + 24, 4);
        memcpy(&frame->width, details + 28, 4);
        memcpy(&crc, details + 32, 4);
        uint64_t pixels = (uint64_t)frame->height * frame->width;
        if (number != written || pixels > jetseg_ring_most_pixels(ring)) continue;
        if (pixels > capacity) return JETSEG_RING_SMALL;
        jetseg_ring_copy_(ids, slot + 64, (size_t)pixels);
        if (jetseg_ring_crc_(ring, jetseg_ring_crc_(ring, 0, details, 32), ids, (size_t)pixels) != crc) continue;
        frame->number = number - 1;
        return JETSEG_RING_OK;
    }
    return JETSEG_RING_NONE;
}

/* Tells whether the writer has ended or is gone; open the ring anew then, by its name. */
static inline int jetseg_ring_ended(const jetseg_ring *ring) {
    struct stat mine, there;
    struct flock lock;
    if (jetseg_ring_u32_(ring->memory + 32) != 0 || fstat(ring->file, &mine) != 0 || stat(ring->path, &there) != 0)
        return 1;
    if (mine.st_dev != there.st_dev || mine.st_ino != there.st_ino) return 1;
    memset(&lock, 0, sizeof lock);
    lock.l_type = F_RDLCK;
    lock.l_whence = SEEK_SET;
    return fcntl(ring->file, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK;
}

/* Frees what the ring holds. */
static inline void jetseg_ring_close(jetseg_ring *ring) {
    munmap(ring->memory, ring->size);
    close(ring->file);
}

#ifdef __cplusplus
}
#endif
#endif
