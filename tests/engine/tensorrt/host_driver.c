/* A CUDA driver whose device is the host: memory, streams and contexts as jetseg uses them, and stricter than a GPU.

   - What a stream was given happens when it is synchronized, never before.
   - Each call needs a current context in its thread, memory that is live, and copies that stay inside it.
   - A copy beside the processor needs pinned memory.
   - The n-th call fails on demand (host_driver_fail), and what is live can be asked for (host_driver_live).

   Names carry the version that cuda.h gives them, so one source serves the headers of CUDA 12 and 13. */
#include <cuda.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Work)(void *);
typedef struct Task { struct Task *next; Work work; void *argument; void *to; const void *from; size_t size; } Task;
typedef struct Block { struct Block *next; char *start; size_t size; int pinned; } Block;
typedef struct Queue { struct Queue *next; Task *first, **last; } Queue;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Block *blocks;
static Queue *streams;
static long calls, failing, misuses;
static int contexts;
static char context, first_refused[64], first_misuse[128];
static __thread int depth;

/* For tests. */
void host_driver_fail(long call) { calls = 0; failing = call; first_refused[0] = 0; }
long host_driver_calls(void) { return calls; }
long host_driver_misuses(void) { return misuses; }
const char *host_driver_refused(void) { return first_refused; }
const char *host_driver_misuse(void) { return first_misuse; }

void host_driver_live(long live[3]) { /* allocations, streams, contexts */
    live[0] = live[1] = 0;
    live[2] = contexts;
    for (Block *block = blocks; block; block = block->next) live[0]++;
    for (Queue *queue = streams; queue; queue = queue->next) live[1]++;
}

static CUresult misuse(const char *name, const char *what, CUresult result) {
    if (!misuses++) {
        strcpy(first_misuse, name);
        strcat(strcat(first_misuse, ": "), what);
    }
    return result;
}

static int refused(const char *name) {
    if (++calls != failing) return 0;
    strncpy(first_refused, name, sizeof first_refused - 1);
    return 1;
}

#define CALL if (refused(__func__)) return CUDA_ERROR_LAUNCH_FAILED
#define IN_CONTEXT CALL; if (!depth) return misuse(__func__, "no current context", CUDA_ERROR_INVALID_CONTEXT)

static Block *find(const void *start, size_t size) {
    const char *wanted = start;
    for (Block *block = blocks; block; block = block->next)
        if (wanted >= block->start && wanted + size <= block->start + block->size) return block;
    return NULL;
}

static CUresult allocate(void **start, size_t size, int pinned) {
    Block *block = malloc(sizeof *block);
    pthread_mutex_lock(&lock);
    *block = (Block){blocks, malloc(size ? size : 1), size, pinned};
    memset(block->start, 0xA5, size);
    blocks = block;
    pthread_mutex_unlock(&lock);
    *start = block->start;
    return CUDA_SUCCESS;
}

static CUresult release(const char *name, const void *start) {
    pthread_mutex_lock(&lock);
    for (Block **place = &blocks; *place; place = &(*place)->next) {
        Block *block = *place;
        if (block->start != start) continue;
        *place = block->next;
        pthread_mutex_unlock(&lock);
        memset(block->start, 0x5A, block->size); /* what reads it now reads nonsense */
        free(block->start);
        free(block);
        return CUDA_SUCCESS;
    }
    pthread_mutex_unlock(&lock);
    return misuse(name, "memory that is not live", CUDA_ERROR_INVALID_VALUE);
}

static CUresult append(const char *name, CUstream stream, Task task) {
    for (Queue *queue = streams; queue; queue = queue->next) {
        if ((CUstream)queue != stream) continue;
        *queue->last = malloc(sizeof task);
        **queue->last = task;
        queue->last = &(*queue->last)->next;
        return CUDA_SUCCESS;
    }
    return misuse(name, "no such stream", CUDA_ERROR_INVALID_HANDLE);
}

/* Work of another library, as an inference is: queued like a copy. */
CUresult host_driver_launch(CUstream stream, Work work, void *argument) {
    return append(__func__, stream, (Task){.work = work, .argument = argument});
}

CUresult cuInit(unsigned flags) { CALL; return CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int *version) { CALL; *version = CUDA_VERSION; return CUDA_SUCCESS; }
CUresult cuGetErrorString(CUresult error, const char **text) { *text = "refused by the driver of the tests"; return CUDA_SUCCESS; }
CUresult cuGetErrorName(CUresult error, const char **text) { *text = "CUDA_ERROR"; return CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int *count) { CALL; *count = 1; return CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice *device, int index) { CALL; *device = 0; return index ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS; }
CUresult cuDeviceGetName(char *name, int size, CUdevice device) { CALL; strncpy(name, "Double GPU", size); return CUDA_SUCCESS; }

CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) { CALL; *major = 8; *minor = 7; return CUDA_SUCCESS; }

CUresult cuDevicePrimaryCtxRetain(CUcontext *made, CUdevice device) { CALL; *made = (CUcontext)&context; contexts++; return CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRelease(CUdevice device) { CALL; contexts--; return CUDA_SUCCESS; }
CUresult cuCtxPushCurrent(CUcontext pushed) { CALL; depth++; return CUDA_SUCCESS; }
CUresult cuCtxPopCurrent(CUcontext *popped) { IN_CONTEXT; depth--; if (popped) *popped = (CUcontext)&context; return CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext *current) { *current = depth ? (CUcontext)&context : NULL; return CUDA_SUCCESS; }
CUresult cuCtxGetDevice(CUdevice *device) { IN_CONTEXT; *device = 0; return CUDA_SUCCESS; }

CUresult cuMemGetInfo(size_t *free_bytes, size_t *bytes) { IN_CONTEXT; *free_bytes = 4ul << 30; *bytes = 8ul << 30; return CUDA_SUCCESS; }
CUresult cuMemAlloc(CUdeviceptr *start, size_t size) { IN_CONTEXT; return allocate((void **)start, size, 0); }
CUresult cuMemFree(CUdeviceptr start) { IN_CONTEXT; return release(__func__, (void *)start); }
CUresult cuMemAllocHost(void **start, size_t size) { IN_CONTEXT; return allocate(start, size, 1); }
CUresult cuMemHostAlloc(void **start, size_t size, unsigned flags) { IN_CONTEXT; return allocate(start, size, 1 | flags); }
CUresult cuMemFreeHost(void *start) { IN_CONTEXT; return release(__func__, start); }

CUresult cuMemHostGetDevicePointer(CUdeviceptr *seen, void *start, unsigned flags) {
    IN_CONTEXT;
    Block *block = find(start, 1);
    if (!block || !(block->pinned & CU_MEMHOSTALLOC_DEVICEMAP)) return misuse(__func__, "memory that is not mapped", CUDA_ERROR_INVALID_VALUE);
    *seen = (CUdeviceptr)start;
    return CUDA_SUCCESS;
}

static CUresult check(const char *name, CUdeviceptr device, const void *host, size_t size, int beside) {
    Block *there = find((void *)device, size), *here = find(host, size);
    if (!there) return misuse(name, "outside the device's memory", CUDA_ERROR_INVALID_VALUE);
    if (beside && !(here && here->pinned)) return misuse(name, "memory that is not pinned", CUDA_ERROR_INVALID_VALUE);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t size) {
    IN_CONTEXT;
    CUresult result = check(__func__, to, from, size, 0);
    if (!result) memcpy((void *)to, from, size);
    return result;
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t size, CUstream stream) {
    IN_CONTEXT;
    CUresult result = check(__func__, to, from, size, 1);
    return result ? result : append(__func__, stream, (Task){.to = (void *)to, .from = from, .size = size});
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t size, CUstream stream) {
    IN_CONTEXT;
    CUresult result = check(__func__, from, to, size, 1);
    return result ? result : append(__func__, stream, (Task){.to = to, .from = (void *)from, .size = size});
}

CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
    IN_CONTEXT;
    Queue *queue = calloc(1, sizeof *queue);
    queue->last = &queue->first;
    queue->next = streams;
    streams = queue;
    *stream = (CUstream)queue;
    return CUDA_SUCCESS;
}

static void finish(Queue *queue) {
    while (queue->first) {
        Task *task = queue->first;
        if (task->work)
            task->work(task->argument);
        else if (find(task->to, task->size) && find(task->from, task->size))
            memcpy(task->to, task->from, task->size);
        else
            misuse("copy", "memory was freed before its stream was synchronized", CUDA_SUCCESS);
        queue->first = task->next;
        free(task);
    }
    queue->last = &queue->first;
}

CUresult cuStreamSynchronize(CUstream stream) {
    IN_CONTEXT;
    for (Queue *queue = streams; queue; queue = queue->next)
        if ((CUstream)queue == stream) {
            finish(queue);
            return CUDA_SUCCESS;
        }
    return misuse(__func__, "no such stream", CUDA_ERROR_INVALID_HANDLE);
}

CUresult cuStreamDestroy(CUstream stream) {
    IN_CONTEXT;
    for (Queue **place = &streams; *place; place = &(*place)->next) {
        Queue *queue = *place;
        if ((CUstream)queue != stream) continue;
        finish(queue);
        *place = queue->next;
        free(queue);
        return CUDA_SUCCESS;
    }
    return misuse(__func__, "no such stream", CUDA_ERROR_INVALID_HANDLE);
}
