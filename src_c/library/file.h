/* The file of a frozen network (file.c), which fastnn/_frozen.py writes. */
#ifndef FNN_FILE_H
#define FNN_FILE_H

#include "fastnn.h"

/* A file is a head, then parts, each of which begins at a multiple of 64 bytes: the ops, the constants (doubles), a text for
 * Python, the parameters. All numbers are little-endian. The file ends with the last parameter. */
enum { FNN_FILE_HEAD = 128, FNN_FILE_OP = 200, FNN_FILE_NAME = 24, FNN_FILE_VERSION = 1, FNN_FILE_MOST_OPS = 1 << 14 };

/* What the head says, and where the parts lie, in bytes from the beginning of the file. */
typedef struct {
    size_t size, inputs, op_count, constant_count, text_size, parameter_size;
    int is_double, bfloat16, is_raw; /* is_raw: layers in Python make the numbers of x from raw data */
    size_t ops, constants, text, parameters;
} fnn_file_head;

/* A sentence for people about what is wrong. */
typedef struct {
    char text[256];
} fnn_message;

/* Both return 0, or -1 with a message.
 *
 * Reads the first FNN_FILE_HEAD bytes of a file of `size` bytes, fewer where the file has fewer, and checks that the sizes which
 * they tell are those of the file. */
int fnn_read_head(const unsigned char *bytes, size_t size, fnn_file_head *head, fnn_message *message);

/* Checks the whole file, and makes a model of it that fnn_freeze takes: the model's kernels, `matrix_unit` and settings are
 * the caller's matter. bytes: FNN_ALIGNMENT-aligned, with room for FNN_PADDING elements behind them; constants and
 * parameters stay there. ops, pieces: room for head->op_count. */
int fnn_read_model(const unsigned char *bytes, const fnn_file_head *head, const fnn_kernels *kernels, fnn_op *ops,
                   fnn_piece *pieces, fnn_model *model, fnn_message *message);

#endif
