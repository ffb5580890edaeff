/* Ends the process at its n-th call that changes a file; loaded with LD_PRELOAD, armed through ctypes.

   Mode 0 ends it before the call. Mode 1 ends it within the call, if that is a write: half of the bytes arrive. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define KILLED 77

static volatile long count, target;
static volatile int armed, mode;
static char is_write[1 << 20];

void shim_arm(long n, int how) { count = 0; target = n; mode = how; armed = 1; }
long shim_disarm(void) { armed = 0; return count; }
int shim_is_write(long n) { return is_write[n]; }

/* Counts a call; true if the process is to end in the middle of it. */
static int reached(int writes) {
    if (!armed) return 0;
    long n = __sync_add_and_fetch(&count, 1);
    if (n < (long)sizeof is_write) is_write[n] = (char)writes;
    if (n != target) return 0;
    if (mode == 0 || !writes) _exit(KILLED);
    return 1;
}
static int is_file(int fd) {
    struct stat s;
    return armed && fstat(fd, &s) == 0 && (S_ISREG(s.st_mode) || S_ISDIR(s.st_mode));
}
static int changes(const char *path, int flags) {
    return armed && (flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) && strncmp(path, "/dev/", 5) && strncmp(path, "/proc/", 6);
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define MODE_OF(flags) mode_t m = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { va_list a; va_start(a, flags); m = va_arg(a, mode_t); va_end(a); }

int open(const char *p, int f, ...) { MODE_OF(f) REAL(open); if (changes(p, f)) reached(0); return real(p, f, m); }
int open64(const char *p, int f, ...) { MODE_OF(f) REAL(open64); if (changes(p, f)) reached(0); return real(p, f, m); }
int openat(int d, const char *p, int f, ...) { MODE_OF(f) REAL(openat); if (changes(p, f)) reached(0); return real(d, p, f, m); }
int openat64(int d, const char *p, int f, ...) { MODE_OF(f) REAL(openat64); if (changes(p, f)) reached(0); return real(d, p, f, m); }

ssize_t write(int fd, const void *b, size_t n) {
    REAL(write);
    if (is_file(fd) && reached(1)) { real(fd, b, n / 2); _exit(KILLED); }
    return real(fd, b, n);
}
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) {
    REAL(pwrite64);
    if (is_file(fd) && reached(1)) { real(fd, b, n / 2, o); _exit(KILLED); }
    return real(fd, b, n, o);
}
ssize_t writev(int fd, const struct iovec *v, int n) {
    REAL(writev);
    if (is_file(fd) && reached(1)) { real(fd, v, n / 2); _exit(KILLED); }
    return real(fd, v, n);
}
ssize_t sendfile64(int out, int in, off64_t *o, size_t n) {
    REAL(sendfile64);
    struct stat s;
    if (is_file(out) && reached(1)) { fstat(in, &s); real(out, in, o, s.st_size / 2); _exit(KILLED); }
    return real(out, in, o, n);
}
ssize_t copy_file_range(int in, off64_t *a, int out, off64_t *b, size_t n, unsigned f) {
    REAL(copy_file_range);
    if (is_file(out)) reached(0);
    return real(in, a, out, b, n, f);
}
int close(int fd) {
    REAL(close);
    if (is_file(fd) && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY) reached(0);
    return real(fd);
}

#define ON_FD(name, signature, arguments) int name signature { REAL(name); if (is_file(fd)) reached(0); return real arguments; }
ON_FD(fsync, (int fd), (fd))
ON_FD(fdatasync, (int fd), (fd))
ON_FD(ftruncate64, (int fd, off64_t n), (fd, n))
ON_FD(fchmod, (int fd, mode_t m), (fd, m))

#define ON_PATH(name, signature, arguments) int name signature { REAL(name); reached(0); return real arguments; }
ON_PATH(rename, (const char *a, const char *b), (a, b))
ON_PATH(renameat, (int d, const char *a, int e, const char *b), (d, a, e, b))
ON_PATH(unlink, (const char *p), (p))
ON_PATH(unlinkat, (int d, const char *p, int f), (d, p, f))
ON_PATH(link, (const char *a, const char *b), (a, b))
ON_PATH(linkat, (int d, const char *a, int e, const char *b, int f), (d, a, e, b, f))
ON_PATH(symlink, (const char *a, const char *b), (a, b))
ON_PATH(symlinkat, (const char *a, int d, const char *b), (a, d, b))
ON_PATH(mkdir, (const char *p, mode_t m), (p, m))
ON_PATH(mkdirat, (int d, const char *p, mode_t m), (d, p, m))
ON_PATH(rmdir, (const char *p), (p))
ON_PATH(chmod, (const char *p, mode_t m), (p, m))
ON_PATH(fchmodat, (int d, const char *p, mode_t m, int f), (d, p, m, f))
