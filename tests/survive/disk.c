/* A disk that fails, for tests of what survives it: preloaded into tacho, it lets the call with number TACHO_FAIL_AT (from 1,
 * of those that TACHO_FAIL_HOW names and that touch a file below TACHO_FAIL_UNDER) fail, and every later one too, as a full or
 * dying disk does. TACHO_FAIL_HOW is
 *   full      writes, ftruncate, rename, mkdir and opens that may create say ENOSPC, a write after half of its bytes
 *   once      as full, but that one call only
 *   sync      fsync and fdatasync say EIO
 *   readonly  as full, but EROFS, nothing is written, and opens to write and unlink fail too
 *   slow      nothing fails: each write, sync and rename takes TACHO_SLOW_MS longer
 * TACHO_FAIL_COUNT names a file that gets the number of calls seen; TACHO_FAIL_PATHS one that gets the path of each that failed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

enum { WRITE = 1, SYNC = 2, RENAME = 4, TRUNCATE = 8, CREATE = 16, MKDIR = 32, OPEN_TO_WRITE = 64, UNLINK = 128 };
static const struct { const char *how; int calls, error; } HOW[] = {
    {"full", WRITE | RENAME | TRUNCATE | CREATE | MKDIR, ENOSPC},
    {"once", WRITE | RENAME | TRUNCATE | CREATE | MKDIR, ENOSPC},
    {"sync", SYNC, EIO},
    {"readonly", WRITE | RENAME | TRUNCATE | CREATE | MKDIR | OPEN_TO_WRITE | UNLINK, EROFS},
    {"slow", WRITE | SYNC | RENAME, 0},
};

static atomic_long seen;

static void note(const char *failed) {
    const char *path = getenv("TACHO_FAIL_PATHS");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) fprintf(file, "%s\n", failed), fclose(file);
}

/* With which error this call on `path` fails; 0: not. */
static int fails(const char *path, int call) {
    const char *under = getenv("TACHO_FAIL_UNDER"), *how = getenv("TACHO_FAIL_HOW"), *at = getenv("TACHO_FAIL_AT");
    if (!how || !under || !path || strncmp(path, under, strlen(under)) != 0) return 0;
    for (size_t i = 0; i < sizeof HOW / sizeof *HOW; i++) {
        if (strcmp(HOW[i].how, how) != 0) continue;
        if (!(HOW[i].calls & call)) return 0;
        long number = ++seen, wanted = at ? atol(at) : 0;
        if (HOW[i].error == 0) {
            const char *delay = getenv("TACHO_SLOW_MS");
            long ms = delay ? atol(delay) : 0;
            nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
            return 0;
        }
        int now = wanted > 0 && (strcmp(how, "once") == 0 ? number == wanted : number >= wanted);
        if (now) note(path);
        return now ? HOW[i].error : 0;
    }
    return 0;
}

static int fails_fd(int fd, int call) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(path, call);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    int error = fails_fd(fd, WRITE);
    if (error == ENOSPC && count > 1) real(fd, bytes, count / 2);
    return error ? errno = error, -1 : real(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    int error = fails_fd(fd, WRITE);
    if (error == ENOSPC && count > 1) real(fd, parts, count / 2);
    return error ? errno = error, -1 : real(fd, parts, count);
}

#define PWRITE(name, offset_type) \
    ssize_t name(int fd, const void *bytes, size_t count, offset_type at) { \
        REAL(name); \
        int error = fails_fd(fd, WRITE); \
        return error ? errno = error, -1 : real(fd, bytes, count, at); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SYNCS(name) \
    int name(int fd) { \
        REAL(name); \
        int error = fails_fd(fd, SYNC); \
        return error ? errno = error, -1 : real(fd); \
    }
SYNCS(fsync)
SYNCS(fdatasync)

#define TRUNCATES(name, offset_type) \
    int name(int fd, offset_type length) { \
        REAL(name); \
        int error = fails_fd(fd, TRUNCATE); \
        return error ? errno = error, -1 : real(fd, length); \
    }
TRUNCATES(ftruncate, off_t)
TRUNCATES(ftruncate64, off64_t)

int rename(const char *from, const char *to) {
    REAL(rename);
    int error = fails(to, RENAME);
    return error ? errno = error, -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    int error = fails(path, MKDIR);
    return error ? errno = error, -1 : real(path, mode);
}

int unlink(const char *path) {
    REAL(unlink);
    int error = fails(path, UNLINK);
    return error ? errno = error, -1 : real(path);
}

static int fails_open(const char *path, int flags) {
    return fails(path, flags & O_CREAT ? CREATE : (flags & O_ACCMODE) != O_RDONLY ? OPEN_TO_WRITE : 0);
}

/* The mode, which stands there only where a file may be made. */
static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        int error = fails_open(path, flags); \
        return error ? errno = error, -1 : real(path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        REAL(name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = mode_of(flags, rest); \
        va_end(rest); \
        int error = fails_open(path, flags); \
        return error ? errno = error, -1 : real(folder, path, flags, mode); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("TACHO_FAIL_COUNT");
    if (!path) return;
    FILE *file = fopen(path, "w");
    if (file) fprintf(file, "%ld\n", (long)seen), fclose(file);
}
