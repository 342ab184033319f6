/* A disk that can be slow, full, broken, or cut off: preloaded (LD_PRELOAD) into a process under test.
 *
 * What the process does to files below STORAGE_FOLDER goes through here:
 *   STORAGE_FSYNC_MS   each fsync and fdatasync takes so many milliseconds longer; several may run at the same time
 *   STORAGE_LOG        every change and every sync is logged with its data, so that storage.py can rebuild the disk as
 *                      it may be after a power cut
 *   STORAGE_FULL       while a file of this name exists, writes fail with ENOSPC
 *   STORAGE_BROKEN     while a file of this name exists, syncs fail with EIO; afterwards, as on Linux, once more through
 *                      each descriptor of that file that has not heard of it: such a sync has written what it covers,
 *                      only that it tells of an earlier one
 * Mapped memory is not seen: of SQLite's files that is only -shm, which does not outlive a power cut.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILES 1024
#define DESCRIPTORS 4096

struct record {
    char type; /* Open, Write, Truncate, sync begin, Sync end, Failed sync, Earlier failure told, Unlink, Rename */
    uint32_t file;
    int64_t a, b;
    uint32_t length;
} __attribute__((packed));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char paths[FILES][PATH_MAX]; /* "" : the file has no name any more */
static int files;
static int file_of[DESCRIPTORS]; /* file + 1 */
static int errors[FILES], heard[DESCRIPTORS];
static int log_descriptor = -1;
static int64_t syncs;
static long long delay; /* nanos */
static const char *folder, *full, *broken;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void)
{
    const char *ms = getenv("STORAGE_FSYNC_MS"), *name = getenv("STORAGE_LOG");
    folder = getenv("STORAGE_FOLDER");
    full = getenv("STORAGE_FULL");
    broken = getenv("STORAGE_BROKEN");
    delay = ms ? (long long)(atof(ms) * 1e6) : 0;
    if (name)
        log_descriptor = REAL(open)(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static int ours(const char *path)
{
    size_t length = folder ? strlen(folder) : 0;
    return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static int exists(const char *path)
{
    return path && !access(path, F_OK);
}

static void record(char type, int file, int64_t a, int64_t b, const void *data, size_t length)
{
    struct record head = {type, (uint32_t)file, a, b, (uint32_t)length};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)data, length}};
    if (log_descriptor >= 0 && writev(log_descriptor, parts, length ? 2 : 1) < 0)
        abort();
}

static int find(const char *path)
{
    for (int i = 0; i < files; i++)
        if (!strcmp(paths[i], path))
            return i;
    return -1;
}

static int opened(int descriptor, const char *path, int flags)
{
    if (descriptor < 0 || descriptor >= DESCRIPTORS || !ours(path))
        return descriptor;
    pthread_mutex_lock(&lock);
    int file = find(path);
    if (file < 0 && files < FILES) {
        file = files++;
        snprintf(paths[file], PATH_MAX, "%s", path);
        record('O', file, 0, 0, path, strlen(path));
    }
    file_of[descriptor] = file + 1;
    heard[descriptor] = errors[file];
    if (flags & O_TRUNC)
        record('T', file, 0, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return descriptor;
}

static int file(int descriptor)
{
    return descriptor >= 0 && descriptor < DESCRIPTORS ? file_of[descriptor] - 1 : -1;
}

#define OPEN(name)                                                                                                      \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                   \
        va_list more;                                                                                                   \
        va_start(more, flags);                                                                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                         \
        va_end(more);                                                                                                   \
        return opened(REAL(name)(path, flags, mode), path, flags);                                                      \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                    \
    int name(int at, const char *path, int flags, ...)                                                                 \
    {                                                                                                                   \
        va_list more;                                                                                                   \
        va_start(more, flags);                                                                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                         \
        va_end(more);                                                                                                   \
        return opened(REAL(name)(at, path, flags, mode), path, flags);                                                  \
    }
OPENAT(openat)
OPENAT(openat64)

int close(int descriptor)
{
    if (file(descriptor) >= 0)
        file_of[descriptor] = 0;
    return REAL(close)(descriptor);
}

static int refuse(void)
{
    if (!exists(full))
        return 0;
    errno = ENOSPC;
    return 1;
}

/* A change and its record are one step, so that the log has the order of the disk's cache. */
#define CHANGE(descriptor, call, type, offset, data, length)                                                            \
    if (file(descriptor) < 0)                                                                                           \
        return call;                                                                                                    \
    if (refuse())                                                                                                       \
        return -1;                                                                                                      \
    pthread_mutex_lock(&lock);                                                                                          \
    int64_t where = offset;                                                                                             \
    ssize_t done = call;                                                                                                \
    if (done >= 0)                                                                                                      \
        record(type, file(descriptor), where, 0, data, length);                                                         \
    pthread_mutex_unlock(&lock);                                                                                        \
    return done;

ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset)
{
    CHANGE(descriptor, REAL(pwrite)(descriptor, data, length, offset), 'W', offset, data, done)
}

ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t offset)
{
    CHANGE(descriptor, REAL(pwrite64)(descriptor, data, length, offset), 'W', offset, data, done)
}

static int64_t position(int descriptor)
{
    int append = fcntl(descriptor, F_GETFL) & O_APPEND;
    return lseek(descriptor, 0, append ? SEEK_END : SEEK_CUR);
}

ssize_t write(int descriptor, const void *data, size_t length)
{
    CHANGE(descriptor, REAL(write)(descriptor, data, length), 'W', position(descriptor), data, done)
}

int ftruncate(int descriptor, off_t size)
{
    CHANGE(descriptor, REAL(ftruncate)(descriptor, size), 'T', size, NULL, 0)
}

int ftruncate64(int descriptor, off64_t size)
{
    CHANGE(descriptor, REAL(ftruncate64)(descriptor, size), 'T', size, NULL, 0)
}

static int64_t grown(int descriptor, int64_t size)
{
    struct stat status;
    return !fstat(descriptor, &status) && status.st_size > size ? status.st_size : size;
}

int posix_fallocate(int descriptor, off_t offset, off_t length)
{
    if (file(descriptor) >= 0 && refuse())
        return ENOSPC;
    CHANGE(descriptor, REAL(posix_fallocate)(descriptor, offset, length), 'T', grown(descriptor, offset + length), NULL, 0)
}

int posix_fallocate64(int descriptor, off64_t offset, off64_t length)
{
    if (file(descriptor) >= 0 && refuse())
        return ENOSPC;
    CHANGE(descriptor, REAL(posix_fallocate64)(descriptor, offset, length), 'T', grown(descriptor, offset + length), NULL,
           0)
}

/* What was written before a sync began is on the disk once it has ended, and nothing else is sure to be. The files of
 * the test itself need no true sync. */
static int synced(int descriptor, int (*real)(int))
{
    if (file(descriptor) < 0)
        return real(descriptor);
    pthread_mutex_lock(&lock);
    int64_t number = syncs++;
    record('s', file(descriptor), number, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    struct timespec time = {delay / 1000000000, delay % 1000000000};
    if (delay)
        nanosleep(&time, NULL);
    int done = exists(broken) ? -1 : log_descriptor >= 0 ? 0 : real(descriptor);
    char end = done ? 'F' : 'S';
    pthread_mutex_lock(&lock);
    int *all = &errors[file(descriptor)], *mine = &heard[descriptor];
    *all += done != 0;
    if (*mine != *all) {
        *mine = *all;
        end = done ? end : 'E';
        done = -1;
        errno = EIO;
    }
    record(end, file(descriptor), number, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

int fsync(int descriptor)
{
    return synced(descriptor, REAL(fsync));
}

int fdatasync(int descriptor)
{
    return synced(descriptor, REAL(fdatasync));
}

int unlink(const char *path)
{
    if (!ours(path))
        return REAL(unlink)(path);
    pthread_mutex_lock(&lock);
    int done = REAL(unlink)(path), file = find(path);
    if (!done && file >= 0) {
        record('U', file, 0, 0, NULL, 0);
        paths[file][0] = 0;
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int rename(const char *old, const char *new)
{
    if (!ours(old) || !ours(new))
        return REAL(rename)(old, new);
    pthread_mutex_lock(&lock);
    int done = REAL(rename)(old, new), file = find(old), replaced = find(new);
    if (!done && file >= 0) {
        record('R', file, 0, 0, new, strlen(new));
        if (replaced >= 0)
            paths[replaced][0] = 0;
        snprintf(paths[file], PATH_MAX, "%s", new);
    }
    pthread_mutex_unlock(&lock);
    return done;
}
