#if !defined(_WIN32) && !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L /* open, fstat, and strerror_r that returns an int */
#endif
#include "library/disk.h"
#include "engine/sizes.h"

#define MOST ((size_t)1 << 30) /* bytes that one call of the system is asked for */

#if defined(_WIN32)

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdio.h>

enum { LONGEST_PATH = 32767 + 1 }; /* UTF-16 units, with the last zero */

static int fail(fnn_disk_file *file, DWORD error) {
    const DWORD length =
        FormatMessageA(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, error,
                       MAKELANGID(LANG_ENGLISH, SUBLANG_ENGLISH_US), file->reason, sizeof file->reason, NULL);
    if (length == 0) {
        snprintf(file->reason, sizeof file->reason, "error %lu of Windows", error);
    }
    for (DWORD k = length; k > 0 && (unsigned char)file->reason[k - 1] <= ' '; k--) {
        file->reason[k - 1] = 0; /* such messages end in a new line */
    }
    return -1;
}

int fnn_disk_open(const char *path, fnn_disk_file *file) {
    LARGE_INTEGER size = {0};
    wchar_t *wide = fnn_allocate(LONGEST_PATH * sizeof *wide);
    if (!wide) {
        return fail(file, ERROR_NOT_ENOUGH_MEMORY);
    }
    HANDLE handle = INVALID_HANDLE_VALUE;
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, LONGEST_PATH)) {
        handle = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                             OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL); /* the flag lets folders be opened */
    }
    const DWORD error = GetLastError();
    fnn_release(wide);
    if (handle == INVALID_HANDLE_VALUE) {
        return fail(file, error);
    }
    file->handle = (intptr_t)handle;
    file->is_regular = GetFileType(handle) == FILE_TYPE_DISK && GetFileSizeEx(handle, &size);
    BY_HANDLE_FILE_INFORMATION about;
    if (!GetFileInformationByHandle(handle, &about) || about.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) {
        file->is_regular = 0;
    }
    file->size = (size_t)size.QuadPart;
    return 0;
}

int fnn_disk_read(fnn_disk_file *file, void *bytes, size_t size, size_t *count) {
    DWORD read = 1;
    for (*count = 0; *count < size && read > 0; *count += read) {
        if (!ReadFile((HANDLE)file->handle, (char *)bytes + *count, (DWORD)at_most(size - *count, MOST), &read, NULL)) {
            return fail(file, GetLastError());
        }
    }
    return 0;
}

void fnn_disk_close(fnn_disk_file *file) {
    CloseHandle((HANDLE)file->handle);
}

#else

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(fnn_disk_file *file) {
    static const char unknown[] = "the system does not say why";
    const int error = errno;
    memcpy(file->reason, unknown, sizeof unknown);
    (void)strerror_r(error, file->reason, sizeof file->reason);
    return -1;
}

int fnn_disk_open(const char *path, fnn_disk_file *file) {
    struct stat about;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        return fail(file);
    }
    file->handle = descriptor;
    if (fstat(descriptor, &about)) {
        fail(file);
        close(descriptor);
        return -1;
    }
    file->is_regular = S_ISREG(about.st_mode);
    file->size = (size_t)about.st_size;
    return 0;
}

int fnn_disk_read(fnn_disk_file *file, void *bytes, size_t size, size_t *count) {
    for (*count = 0; *count < size;) {
        const ssize_t read_now = read((int)file->handle, (char *)bytes + *count, at_most(size - *count, MOST));
        if (read_now < 0 && errno != EINTR) {
            return fail(file);
        }
        if (read_now == 0) {
            break;
        }
        *count += read_now > 0 ? (size_t)read_now : 0;
    }
    return 0;
}

void fnn_disk_close(fnn_disk_file *file) {
    close((int)file->handle);
}

#endif
