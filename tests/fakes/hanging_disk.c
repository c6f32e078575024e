/* A disk that hangs, or fails, for what is below one directory: preloaded (ld.so(8), LD_PRELOAD) into a real process.

   HANGING_DISK names the directory; HANGING_DISK_FLAGS another one, in which a file named after a call, such as
   "fsync", makes these calls wait for as long as it is there; "fsync.hangs" says that one waits. While "full" is there,
   no file can be made. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEXT(type, name, ...) \
    static type (*next)(__VA_ARGS__); \
    if (!next) next = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int flagged(const char *call) {
    const char *flags = getenv("HANGING_DISK_FLAGS");
    char path[1024];
    if (!flags) return 0;
    snprintf(path, sizeof path, "%s/%s", flags, call);
    return access(path, F_OK) == 0;
}

static void hang(const char *call) {
    char path[1024];
    if (!flagged(call)) return;
    snprintf(path, sizeof path, "%s/%s.hangs", getenv("HANGING_DISK_FLAGS"), call);
    close(creat(path, 0600));
    while (flagged(call)) usleep(10000);
}

static int below(const char *path) {
    const char *disk = getenv("HANGING_DISK");
    return disk && path && strncmp(path, disk, strlen(disk)) == 0;
}

static int file_below(int descriptor) {
    char link[64], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

int fsync(int descriptor) {
    NEXT(int, "fsync", int);
    if (file_below(descriptor)) hang("fsync");
    return next(descriptor);
}

int futimens(int descriptor, const struct timespec times[2]) {
    NEXT(int, "futimens", int, const struct timespec *);
    if (file_below(descriptor)) hang("utime");
    return next(descriptor, times);
}

int flock(int descriptor, int operation) {
    NEXT(int, "flock", int, int);
    if (file_below(descriptor)) hang("flock");
    return next(descriptor, operation);
}

int rename(const char *from, const char *to) {
    NEXT(int, "rename", const char *, const char *);
    if (below(to)) hang("rename");
    return next(from, to);
}

int renameat(int a, const char *from, int b, const char *to) {
    NEXT(int, "renameat", int, const char *, int, const char *);
    if (below(to)) hang("rename");
    return next(a, from, b, to);
}

int inotify_add_watch(int descriptor, const char *path, uint32_t mask) {
    NEXT(int, "inotify_add_watch", int, const char *, uint32_t);
    if (below(path)) hang("watch");
    return next(descriptor, path, mask);
}

#define STAT(name, type) \
    int name(const char *path, struct type *status) { \
        NEXT(int, #name, const char *, struct type *); \
        if (below(path)) hang("stat"); \
        return next(path, status); \
    }
STAT(stat, stat)
STAT(stat64, stat64)
STAT(lstat, stat)
STAT(lstat64, stat64)

#define STAT_AT(name, type) \
    int name(int directory, const char *path, struct type *status, int flags) { \
        NEXT(int, #name, int, const char *, struct type *, int); \
        if (below(path)) hang("stat"); \
        return next(directory, path, status, flags); \
    }
STAT_AT(fstatat, stat)
STAT_AT(fstatat64, stat64)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        NEXT(int, #name, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (below(path)) { \
            hang("open"); \
            if (flags & O_CREAT && flagged("full") && access(path, F_OK) != 0) { \
                errno = ENOSPC; \
                return -1; \
            } \
        } \
        return next(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
