/* Reads the file of a frozen network. The file may be anybody's: every size is compared with the size of the file before it is
 * used, every op is checked (engine/check.inc), and the memory that is needed follows from the size of the file. */

#include <stdio.h>
#include <string.h>

#include "engine/sizes.h"
#include "library/file.h"
#include "fnn_names.h"

/* Numbers are read where they lie. */
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error this file is for processors that are little-endian
#endif

/* The first bytes: one that is no text, and ends of lines that would not survive a transfer as text. */
static const unsigned char magic[8] = {0x89, 'F', 'N', 'N', '\r', '\n', 0x1a, '\n'};

/* Numbers that the widths of all ops and of x may have together, beyond one for each byte of the file. Reasoned: the widths of
 * a network are less than its numbers, but for rows that pass through ops without any. */
enum { MOST_WIDTHS = 1 << 24 };

static uint32_t number32(const unsigned char *at) {
    uint32_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

static uint64_t number64(const unsigned char *at) {
    uint64_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

static int refuse(fnn_message *message, const char *reason) {
    snprintf(message->text, sizeof message->text, "%s", reason);
    return -1;
}

/* The remainder of ISO 3309 (CRC-32, as in zip files) of more bytes, eight at a time (Kounavis and Berry 2008): table[j][k] is
 * the remainder of the byte k with j bytes of zeros behind it. */
static uint32_t checksum(uint32_t before, const unsigned char *bytes, size_t count) {
    uint32_t table[8][256], sum = ~before;
    for (uint32_t k = 0; k < 256; k++) {
        table[0][k] = k;
        for (int bit = 0; bit < 8; bit++) {
            table[0][k] = table[0][k] & 1 ? table[0][k] >> 1 ^ 0xEDB88320u : table[0][k] >> 1;
        }
    }
    for (size_t k = 0; k < 7 * 256; k++) {
        const uint32_t shorter = table[k / 256][k % 256];
        table[k / 256 + 1][k % 256] = table[0][shorter & 255] ^ shorter >> 8;
    }
    for (; count >= 8; bytes += 8, count -= 8) {
        const uint64_t eight = number64(bytes) ^ sum;
        sum = 0;
        for (int j = 0; j < 8; j++) {
            sum ^= table[7 - j][eight >> 8 * j & 255];
        }
    }
    for (size_t k = 0; k < count; k++) {
        sum = table[0][(sum ^ bytes[k]) & 255] ^ sum >> 8;
    }
    return ~sum;
}

/* ---- the head ---- */

/* A size, as far as one can be. */
static size_t size_at(const unsigned char *at) {
    const uint64_t size = number64(at);
    return size < SIZE_MAX / 2 ? (size_t)size : SIZE_MAX;
}

/* Where a part that begins behind `end` begins. */
static size_t part_after(size_t end) {
    return end > SIZE_MAX - FNN_ALIGNMENT ? SIZE_MAX : blocks(end, FNN_ALIGNMENT) * FNN_ALIGNMENT;
}

int fnn_read_head(const unsigned char *bytes, size_t size, fnn_file_head *head, fnn_message *message) {
    if (size < sizeof magic || memcmp(bytes, magic, sizeof magic)) {
        return refuse(message, "it is no network that Predictor.save wrote");
    }
    if (size < FNN_FILE_HEAD) {
        return refuse(message, "it is cut short");
    }
    if (number32(bytes + 8) != FNN_FILE_VERSION) {
        snprintf(message->text, sizeof message->text, "its format has version %lu, and this fastnn reads version %d",
                 (unsigned long)number32(bytes + 8), FNN_FILE_VERSION);
        return -1;
    }
    const uint32_t element = number32(bytes + 24), flags = number32(bytes + 28);
    *head = (fnn_file_head){.size = size,
                            .inputs = size_at(bytes + 32),
                            .op_count = size_at(bytes + 40),
                            .constant_count = size_at(bytes + 48),
                            .text_size = size_at(bytes + 56),
                            .parameter_size = size_at(bytes + 64),
                            .is_double = element == sizeof(double),
                            .bfloat16 = flags & 1,
                            .is_raw = flags >> 1 & 1};
    if ((element != sizeof(float) && element != sizeof(double)) || flags > 3 || (head->is_double && head->bfloat16)) {
        return refuse(message, "its numbers have a type that this fastnn does not know");
    }
    head->ops = FNN_FILE_HEAD;
    head->constants = part_after(fnn_add(head->ops, fnn_multiply(head->op_count, FNN_FILE_OP)));
    head->text = part_after(fnn_add(head->constants, fnn_multiply(head->constant_count, sizeof(double))));
    head->parameters = part_after(fnn_add(head->text, head->text_size));
    const size_t end = fnn_add(head->parameters, fnn_multiply(head->parameter_size, element));
    if (size_at(bytes + 16) != size || end != size) {
        return refuse(message, size < end || size < size_at(bytes + 16) ? "it is cut short"
                                                                        : "its size is not that which it says");
    }
    if (head->op_count < 1 || head->op_count > FNN_FILE_MOST_OPS || head->inputs < 1) {
        return refuse(message, "it must have at least one input, and 1 to 16384 steps");
    }
    return 0;
}

/* ---- the ops ---- */

/* The number of a name of FNN_FILE_NAME bytes, filled up with zeros; -1 where the enum has no such name. */
static int number_of(const char *list, const unsigned char *name) {
    for (size_t k = 0; k < fnn_name_count; k++) {
        if (strcmp(fnn_names[k].list, list) == 0 && strlen(fnn_names[k].name) < FNN_FILE_NAME &&
            strncmp(fnn_names[k].name, (const char *)name, FNN_FILE_NAME) == 0) {
            return fnn_names[k].number;
        }
    }
    return -1;
}

/* An offset or an index: -1 where there is none. Others that are negative are no less wrong than too large ones. */
static ptrdiff_t place_at(const unsigned char *at) {
    const uint64_t place = number64(at);
    return place == UINT64_MAX ? -1 : place < PTRDIFF_MAX / 2 ? (ptrdiff_t)place : PTRDIFF_MAX / 2;
}

/* Reads an op; NULL, or what is wrong with it. Its constants are the first of the `left` that no op before it has. */
static const char *read_op(const unsigned char *at, const double *constants, size_t left, fnn_op *op) {
    const unsigned char *mode = at + (size_t)2 * FNN_FILE_NAME, *numbers = at + (size_t)3 * FNN_FILE_NAME;
    const size_t count = size_at(numbers + 120);
    *op = (fnn_op){.code = number_of("op", at),
                   .activation = number_of("activation", at + FNN_FILE_NAME),
                   .inputs = size_at(numbers),
                   .outputs = size_at(numbers + 8),
                   .kernel = place_at(numbers + 16),
                   .bias = place_at(numbers + 24),
                   .mean = place_at(numbers + 32),
                   .variance = place_at(numbers + 40),
                   .input = place_at(numbers + 48),
                   .first = size_at(numbers + 56),
                   .source = place_at(numbers + 64),
                   .join = place_at(numbers + 72),
                   .column = size_at(numbers + 80),
                   .seed = -1};
    memcpy(op->numbers, numbers + 88, sizeof op->numbers);
    if (op->code < 0 || op->activation < 0) {
        return "has a name or an activation that this fastnn does not know";
    }
    const char *modes = fnn_modes_of(op->code);
    op->mode = modes ? number_of(modes, mode) : 0;
    if (op->mode < 0 || (!modes && mode[0])) {
        return "has a mode that this fastnn does not know";
    }
    if (count > left) {
        return "has constants that the file has not";
    }
    op->vector = constants;
    op->vector_size = count;
    return NULL;
}

static int refuse_op(fnn_message *message, const unsigned char *op, size_t index, const char *reason) {
    char name[FNN_FILE_NAME + 1] = {0};
    for (size_t k = 0; k < FNN_FILE_NAME && op[k]; k++) {
        name[k] = (op[k] >= 'a' && op[k] <= 'z') || op[k] == '_' ? (char)op[k] : '?';
    }
    snprintf(message->text, sizeof message->text, "its step %zu, %s, %s", index, name, reason);
    return -1;
}

int fnn_read_model(const unsigned char *bytes, const fnn_file_head *head, const fnn_kernels *kernels, fnn_op *ops,
                   fnn_piece *pieces, fnn_model *model, fnn_message *message) {
    const unsigned char none[4] = {0};
    const double *constants = (const double *)(const void *)(bytes + head->constants);
    size_t widths = head->inputs, left = head->constant_count, wrong = 0;
    const uint32_t sum = checksum(checksum(checksum(0, bytes, 12), none, 4), bytes + 16, head->size - 16);
    if (sum != number32(bytes + 12)) {
        return refuse(message, "it is damaged: its checksum does not match");
    }
    for (size_t k = 0; k < head->op_count; k++) {
        const unsigned char *at = bytes + head->ops + k * FNN_FILE_OP;
        const char *reason = read_op(at, constants, left, &ops[k]);
        if (reason) {
            return refuse_op(message, at, k, reason);
        }
        constants += ops[k].vector_size;
        left -= ops[k].vector_size;
        widths = fnn_add(widths, ops[k].outputs);
    }
    if (widths > fnn_add(MOST_WIDTHS, head->size)) {
        return refuse(message, "its rows are wider than a file of its size may ask for");
    }
    *model = (fnn_model){.is_double = head->is_double,
                         .bfloat16 = head->bfloat16,
                         .kernels = kernels,
                         .inputs = head->inputs,
                         .op_count = head->op_count,
                         .ops = ops,
                         .parameter_size = head->parameter_size,
                         .parameters = (void *)(uintptr_t)(bytes + head->parameters)};
    const char *reason = fnn_misfit_of(model, pieces, &wrong);
    if (reason) {
        return refuse_op(message, bytes + head->ops + wrong * FNN_FILE_OP, wrong, reason);
    }
    fnn_link(ops, head->op_count);
    return 0;
}
