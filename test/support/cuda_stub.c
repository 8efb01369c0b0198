/* A CUDA driver without a GPU, for tests: memory is the CPU's, kernels are written down and not run,
 * and what is captured is counted. Every call is a line in the file CUDA_STUB_LOG names, and fails
 * with the code that CUDA_STUB_FAIL names, as in "cuMemAlloc_v2=2". What loads, allocates or waits
 * fails during a capture, as with a real driver. Only what our driver needs. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int R;
typedef void *H;

static int capturing, recorded;

static R called(const char *name, const char *more) {
    const char *path = getenv("CUDA_STUB_LOG"), *fail = getenv("CUDA_STUB_FAIL");
    FILE *log = path ? fopen(path, "a") : NULL;
    if (log) {
        fprintf(log, "%s%s\n", name, more);
        fclose(log);
    }
    size_t length = strlen(name);
    if (fail && !strncmp(fail, name, length) && fail[length] == '=') return atoi(fail + length + 1);
    return 0;
}

#define CALLED(...)                                              \
    char more[400];                                              \
    snprintf(more, sizeof more, __VA_ARGS__);                    \
    R result = called(__func__, more);                           \
    if (result) return result
#define NOT_CAPTURED(...) \
    CALLED(__VA_ARGS__);  \
    if (capturing) return 900
#define SIMPLE(name, ...) \
    R name(__VA_ARGS__) { CALLED("%s", ""); return 0; }
#define GIVES(name, value, type, ...) \
    R name(type *given, ##__VA_ARGS__) { CALLED("%s", ""); *given = (type)(value); return 0; }

R cuInit(unsigned flags) { CALLED(" %u", flags); return 0; }
GIVES(cuDriverGetVersion, 12060, int)
GIVES(cuDeviceGetCount, getenv("CUDA_STUB_GPUS") ? atoi(getenv("CUDA_STUB_GPUS")) : 1, int)
GIVES(cuDeviceGet, number, int, int number)
R cuDeviceGetName(char *name, int size, int device) {
    CALLED(" %d", device);
    snprintf(name, size, "Stub");
    return 0;
}
R cuDeviceGetAttribute(int *value, int attribute, int device) {
    CALLED(" %d %d", attribute, device);
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : attribute == 16 ? 16 : 1;
    return 0;
}
R cuGetErrorName(int error, const char **name) {
    *name = error == 900   ? "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
            : error == 901 ? "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"
                           : NULL;
    return *name ? 0 : 1;
}
R cuGetErrorString(int error, const char **name) { *name = "failed"; return 0; }

GIVES(cuDevicePrimaryCtxRetain, 0xC0, H, int device)
SIMPLE(cuDevicePrimaryCtxRelease_v2, int device)
SIMPLE(cuDevicePrimaryCtxRelease, int device)
SIMPLE(cuCtxPushCurrent_v2, H context)
GIVES(cuCtxPopCurrent_v2, 0xC0, H)
GIVES(cuCtxGetDevice, 0, int)

R cuStreamCreate(H *stream, unsigned flags) {
    CALLED(" %u", flags);
    *stream = (H)0x57;
    return 0;
}
SIMPLE(cuStreamDestroy_v2, H stream)
R cuStreamSynchronize(H stream) { NOT_CAPTURED("%s", ""); return 0; }
R cuMemGetInfo_v2(size_t *free, size_t *total) {
    CALLED("%s", "");
    *free = 64u << 20, *total = 128u << 20;
    return 0;
}
R cuMemAlloc_v2(uint64_t *address, size_t size) {
    NOT_CAPTURED(" %zu", size);
    *address = (uintptr_t)aligned_alloc(256, (size + 255) / 256 * 256);
    return 0;
}
R cuMemFree_v2(uint64_t address) {
    CALLED("%s", "");
    free((void *)(uintptr_t)address);
    return 0;
}
R cuMemHostAlloc(void **address, size_t size, unsigned flags) {
    NOT_CAPTURED(" %zu %u", size, flags);
    *address = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    return 0;
}
R cuMemFreeHost(void *address) {
    CALLED("%s", "");
    free(address);
    return 0;
}
GIVES(cuMemHostGetDevicePointer_v2, (uintptr_t)host, uint64_t, void *host, unsigned flags)
R cuMemcpyHtoDAsync_v2(uint64_t target, const void *source, size_t size, H stream) {
    CALLED(" %zu %p", size, stream);
    recorded += capturing;
    if (!capturing) memcpy((void *)(uintptr_t)target, source, size);
    return 0;
}
R cuMemcpyDtoHAsync_v2(void *target, uint64_t source, size_t size, H stream) {
    CALLED(" %zu %p", size, stream);
    recorded += capturing;
    if (!capturing) memcpy(target, (void *)(uintptr_t)source, size);
    return 0;
}
R cuMemcpyDtoDAsync_v2(uint64_t target, uint64_t source, size_t size, H stream) {
    CALLED(" %llu %llu %zu %p", (unsigned long long)target, (unsigned long long)source, size, stream);
    return 0;
}

R cuModuleLoadDataEx(H *module, const void *code, unsigned n, int *options, void **values) {
    NOT_CAPTURED(" %.4s", (const char *)code);
    *module = (H)0x40;
    return 0;
}
R cuModuleLoadData(H *module, const void *code) {
    NOT_CAPTURED(" %.4s", (const char *)code);
    *module = (H)0x40;
    return 0;
}
SIMPLE(cuModuleUnload, H module)
R cuModuleGetFunction(H *function, H module, const char *name) {
    CALLED(" %s", name);
    *function = (H)0x41;
    return 0;
}
R cuFuncLoad(H function) { NOT_CAPTURED("%s", ""); return 0; }
SIMPLE(cuFuncSetBlockShape, H function, int x, int y, int z)
R cuLaunchKernel(H function, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by,
                 unsigned bz, unsigned shared, H stream, void **parameters, void **extra) {
    const uint64_t *packed = extra ? extra[1] : NULL; /* CU_LAUNCH_PARAM_BUFFER_POINTER */
    const uint64_t *first = packed ? packed : parameters ? parameters[0] : NULL;
    CALLED(" grid %u,%u,%u block %u,%u,%u shared %u stream %p first %llu bytes %zu", x, y, z, bx,
           by, bz, shared, stream, first ? (unsigned long long)*first : 0ull,
           extra ? *(size_t *)extra[3] : 0);
    recorded += capturing;
    return 0;
}

R cuStreamBeginCapture_v2(H stream, int mode) {
    CALLED(" %p %d", stream, mode);
    capturing = 1, recorded = 0;
    return 0;
}
R cuStreamEndCapture(H stream, H *graph) {
    CALLED(" %p, %d recorded", stream, recorded);
    capturing = 0, *graph = (H)0x6000000000;
    return 0;
}
R cuGraphInstantiateWithFlags(H *executable, H graph, unsigned long long flags) {
    CALLED(" %p %llu", graph, flags);
    *executable = (H)0x7000000000;
    return 0;
}
R cuGraphLaunch(H executable, H stream) { CALLED(" %p %p", executable, stream); return 0; }
R cuGraphDestroy(H graph) { CALLED(" %p", graph); return 0; }
R cuGraphExecDestroy(H executable) { CALLED(" %p", executable); return 0; }
