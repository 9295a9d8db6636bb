/* A file of the operating system, read from its beginning: the same calls on POSIX systems and on Windows. */
#ifndef FNN_DISK_H
#define FNN_DISK_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    intptr_t handle;
    size_t size;      /* bytes that it had when it was opened */
    int is_regular;   /* no folder, no pipe, no device */
    char reason[128]; /* why the last call failed, in the system's words */
} fnn_disk_file;

/* Opens the file of this path, on Windows a path in UTF-8; 0, or -1. It never waits for somebody to write to a pipe. */
int fnn_disk_open(const char *path, fnn_disk_file *file);

/* Reads until `size` bytes are there, or the file ends; *count says how many there are. 0, or -1. */
int fnn_disk_read(fnn_disk_file *file, void *bytes, size_t size, size_t *count);

void fnn_disk_close(fnn_disk_file *file);

#endif
