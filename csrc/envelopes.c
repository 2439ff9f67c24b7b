/* Envelopes, written as Python's json module would. See envelopes.h. */
#include "envelopes.h"
#include "utf8.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a row; data NULL: null. */
typedef struct {
    const uint8_t *data;
    size_t size;
} field;

static int make_room(kp_lines *lines, size_t size) {
    size_t room = 2 * lines->room + size;
    char *grown = lines->room - lines->size >= size ? lines->data : realloc(lines->data, room);
    if (!grown)
        return ENOMEM;
    if (lines->room - lines->size < size)
        lines->room = room;
    lines->data = grown;
    return 0;
}

static int put(kp_lines *lines, const void *data, size_t size) {
    if (make_room(lines, size))
        return ENOMEM;
    if (size)
        memcpy(lines->data + lines->size, data, size);
    lines->size += size;
    return 0;
}

static int put_text(kp_lines *lines, const char *text) {
    return put(lines, text, strlen(text));
}

static int put_number(kp_lines *lines, const char *name, int64_t number) {
    char digits[24], *at = digits + sizeof(digits);
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do
        *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (number < 0)
        *--at = '-';
    return put_text(lines, name) || put(lines, at, (size_t)(digits + sizeof(digits) - at)) ? ENOMEM : 0;
}

#define ALL(byte) (0x0101010101010101u * (byte))

/* The high bits of bytes that are 0, and perhaps of some behind them. */
static uint64_t zeros(uint64_t word) {
    return (word - ALL(1)) & ~word & ALL(0x80);
}

/* How many bytes at its beginning stand for themselves. */
static size_t plain_prefix(const uint8_t *data, size_t size) {
    uint64_t word;
    size_t i = 0;
    for (; size - i >= sizeof(word); i += sizeof(word)) {
        memcpy(&word, data + i, sizeof(word));
        if (zeros(word & ALL(0xE0)) | zeros(word ^ ALL('"')) | zeros(word ^ ALL('\\')))
            break;
    }
    while (i < size && data[i] >= 0x20 && data[i] != '"' && data[i] != '\\')
        i++;
    return i;
}

/* What is plain, by whole runs, and the others escaped. */
static int put_escaped(kp_lines *lines, const uint8_t *data, size_t size) {
    static const char names[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt", hex[] = "0123456789abcdef";
    size_t i = 0, plain;
    while (i < size) {
        plain = plain_prefix(data + i, size - i);
        if (put(lines, data + i, plain))
            return ENOMEM;
        if ((i += plain) < size) {
            uint8_t c = data[i++];
            const char *name = c ? strchr(names, c) : NULL;
            char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            if (name)
                escape[1] = letters[name - names];
            if (put(lines, escape, name ? 2 : 6))
                return ENOMEM;
        }
    }
    return 0;
}

static int put_string(kp_lines *lines, field text) {
    return put(lines, "\"", 1) || put_escaped(lines, text.data, text.size) || put(lines, "\"", 1) ? ENOMEM : 0;
}

static int put_base64(kp_lines *lines, field data) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t i;
    if (make_room(lines, data.size / 3 * 4 + 6))
        return ENOMEM;
    lines->data[lines->size++] = '"';
    for (i = 0; i < data.size; i += 3) {
        size_t left = data.size - i;
        uint32_t bits = (uint32_t)data.data[i] << 16 | (left > 1 ? (uint32_t)data.data[i + 1] << 8 : 0) |
                        (left > 2 ? data.data[i + 2] : 0);
        char *at = lines->data + lines->size;
        at[0] = digits[bits >> 18];
        at[1] = digits[bits >> 12 & 63];
        at[2] = left > 1 ? digits[bits >> 6 & 63] : '=';
        at[3] = left > 2 ? digits[bits & 63] : '=';
        lines->size += 4;
    }
    lines->data[lines->size++] = '"';
    return 0;
}

static field bytes_of(const kp_bytes_column *column, size_t row) {
    ssize_t size;
    const uint8_t *data = kp_bytes_of(column, row, &size);
    return (field){data, (size_t)size};
}

static int is_text(field data) {
    uint64_t word = 0;
    size_t ascii = 0;
    for (; data.size - ascii >= sizeof(word); ascii += sizeof(word)) {
        memcpy(&word, data.data + ascii, sizeof(word));
        if (word & ALL(0x80))
            break;
    }
    return kp_utf8_prefix(data.data + ascii, data.size - ascii) == data.size - ascii;
}

/* A string if it is said to be text, base64 else, or null. */
static int put_field(kp_lines *lines, field data, int text) {
    return !data.data ? put_text(lines, "null") : text ? put_string(lines, data) : put_base64(lines, data);
}

/* Behind a comma: the name says whether it is base64. */
static int put_named(kp_lines *lines, const char *plain, const char *coded, field data) {
    int text = is_text(data);
    return put_text(lines, text ? plain : coded) || put_field(lines, data, text) ? ENOMEM : 0;
}

/* Nothing where there are none. */
static int put_headers(kp_lines *lines, const kp_consumed *block, size_t row) {
    size_t begin = block->with_headers ? (size_t)block->header_offsets[row] : 0, i;
    size_t end = block->with_headers ? (size_t)block->header_offsets[row + 1] : 0;
    int text = 1;
    if (begin == end)
        return 0;
    for (i = begin; i < end && text; i++)
        text = is_text(bytes_of(&block->header_values, i));
    if (put_text(lines, text ? ", \"headers\": [" : ", \"headers_base64\": ["))
        return ENOMEM;
    for (i = begin; i < end; i++)
        if (put_text(lines, i > begin ? ", [" : "[") || put_string(lines, bytes_of(&block->header_names, i)) ||
            put_text(lines, ", ") || put_field(lines, bytes_of(&block->header_values, i), text) || put(lines, "]", 1))
            return ENOMEM;
    return put(lines, "]", 1);
}

static int put_timestamp(kp_lines *lines, const kp_consumed *block, size_t row) {
    static const char *const kinds[] = {"unknown", "create", "logappend"}; /* as kcat has them */
    int8_t kind = block->timestamp_types[row];
    if (block->timestamps[row] < 0)
        return 0;
    return put_text(lines, ", \"tstype\": \"") || put_text(lines, kinds[kind < 0 || kind > 2 ? 0 : kind]) ||
           put_number(lines, "\", \"timestamp\": ", block->timestamps[row]);
}

int kp_append_envelope(kp_lines *lines, const kp_consumed *block, const kp_bytes_column *values, size_t row) {
    if (put_text(lines, "{\"topic\": ") || put_string(lines, bytes_of(&block->names, (size_t)block->topics[row])) ||
        put_number(lines, ", \"partition\": ", block->partitions[row]) ||
        put_number(lines, ", \"offset\": ", block->offsets[row]) || put_timestamp(lines, block, row) ||
        put_headers(lines, block, row) ||
        put_named(lines, ", \"key\": ", ", \"key_base64\": ", bytes_of(&block->keys, row)) ||
        put_named(lines, ", \"value\": ", ", \"value_base64\": ", bytes_of(values, row)) || put(lines, "}\n", 2))
        return ENOMEM;
    return 0;
}
