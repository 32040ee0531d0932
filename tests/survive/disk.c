/* A disk that fails, for tests of what survives it: preloaded into tacho, it lets the call with number TACHO_FAIL_AT (from 1,
 * of those that touch a file below TACHO_FAIL_UNDER) fail, and every later one too, as a full or dying disk does. TACHO_FAIL_HOW
 * is `full` (write, ftruncate and rename say ENOSPC, a write after half of its bytes), `sync` (fsync and fdatasync say EIO), or
 * `once` (as full, but that one call only). `slow` lets nothing fail: each of those calls takes TACHO_SLOW_MS longer.
 * TACHO_FAIL_COUNT names a file that gets the number of calls seen. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_long seen;

static int below(const char *path) {
    const char *under = getenv("TACHO_FAIL_UNDER");
    return under && strncmp(path, under, strlen(under)) == 0;
}

static int ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

/* Whether this call fails. */
static int fails(const char *how) {
    const char *at = getenv("TACHO_FAIL_AT"), *kind = getenv("TACHO_FAIL_HOW");
    if (!kind) return 0;
    if (strcmp(kind, "slow") == 0) {
        const char *delay = getenv("TACHO_SLOW_MS");
        long ms = delay ? atol(delay) : 0;
        nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
        seen++;
        return 0;
    }
    int once = strcmp(kind, "once") == 0;
    if (strcmp(once ? "full" : kind, how) != 0) return 0;
    long number = ++seen, wanted = at ? atol(at) : 0;
    return wanted > 0 && (once ? number == wanted : number >= wanted);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    if (ours(fd) && fails("full")) {
        if (count > 1) real(fd, bytes, count / 2);
        errno = ENOSPC;
        return -1;
    }
    return real(fd, bytes, count);
}

int fsync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    if (ours(fd) && fails("sync")) return errno = EIO, -1;
    return real(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    if (ours(fd) && fails("sync")) return errno = EIO, -1;
    return real(fd);
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    if (below(to) && fails("full")) return errno = ENOSPC, -1;
    return real(from, to);
}

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("TACHO_FAIL_COUNT");
    if (!path) return;
    FILE *file = fopen(path, "w");
    if (file) fprintf(file, "%ld\n", (long)seen), fclose(file);
}
