/* Buffer formats: plain data, or addresses of this process. See format.h.
 *
 * The sum of the sizes must be the item's size: a ctypes union has the format "B", whatever it holds. Exporters of
 * structures write out their padding.
 */
#include "format.h"

#include <stddef.h>
#include <string.h>
#include <wchar.h>

#define MAX_NESTING 32
#define MAX_ITEM_BYTES ((int64_t)1 << 48)

typedef struct {
    const char *at;
    int standard; /* sizes as of "<", not this machine's */
} reader;

/* Bytes of a number or character; 0: the letter is neither. Long because it is a table: a case for each letter. */
static int64_t size_of(char letter, int standard) {
    switch (letter) {
    case 'x': case 'c': case 'b': case 'B': case '?': case 's': case 'p':
        return 1;
    case 'h': case 'H': case 'e':
        return 2;
    case 'i': case 'I': case 'f': case 'w':
        return 4;
    case 'q': case 'Q': case 'd':
        return 8;
    case 'l': case 'L':
        return standard ? 4 : (int64_t)sizeof(long);
    case 'n': case 'N':
        return (int64_t)sizeof(size_t);
    case 'u':
        return (int64_t)sizeof(wchar_t);
    case 'g':
        return (int64_t)sizeof(long double);
    default:
        return 0;
    }
}

static int digit(char letter) {
    return letter >= '0' && letter <= '9';
}

/* Read a number; one that is too large for any item is cut down to a size that still is. */
static int64_t number(reader *r) {
    int64_t n = 0;
    while (digit(*r->at)) {
        if (n < MAX_ITEM_BYTES)
            n = n * 10 + (*r->at - '0');
        r->at++;
    }
    return n;
}

/* Read a repeat count: "12", or "(3,4)". -1: unreadable. */
static int64_t count(reader *r) {
    int64_t n = 1, dimension;
    if (digit(*r->at))
        return number(r);
    if (*r->at != '(')
        return 1;
    do {
        r->at++;
        while (*r->at == ' ')
            r->at++;
        if (!digit(*r->at))
            return -1;
        dimension = number(r);
        n = dimension && n > MAX_ITEM_BYTES / dimension ? MAX_ITEM_BYTES : n * dimension;
        while (*r->at == ' ')
            r->at++;
    } while (*r->at == ',');
    return *r->at++ == ')' ? n : -1;
}

/* Skip a field's name. One with the signs of a format in it may be no name at all, but what stands between two others
 * that have colons in them. */
static int skip_name(reader *r) {
    const char *end;
    if (*r->at != ':')
        return 1;
    end = strchr(r->at + 1, ':');
    if (!end || end[1] == ':' || strcspn(r->at + 1, "<>=!@^&{}") < (size_t)(end - r->at - 1))
        return 0;
    r->at = end + 1;
    return 1;
}

/* Read a byte order; returns 0 where there is none. */
static int read_order(reader *r) {
    if (!*r->at || !strchr("@=<>!^", *r->at))
        return 0;
    r->standard = strchr("@^", *r->at) == NULL;
    r->at++;
    return 1;
}

static kp_content read_fields(reader *r, int depth, int64_t *size);

/* Read the type of a field: a structure, a complex number, or one letter. */
static kp_content read_type(reader *r, int depth, int64_t *size) {
    if (*r->at && strchr("OP&Xz", *r->at))
        return KP_ADDRESSES;
    if (*r->at == 'T' && r->at[1] == '{') {
        kp_content inner;
        r->at += 2;
        inner = depth < MAX_NESTING ? read_fields(r, depth + 1, size) : KP_UNKNOWN;
        if (inner != KP_HARMLESS)
            return inner;
        if (*r->at != '}')
            return KP_UNKNOWN;
        r->at++;
        return KP_HARMLESS;
    }
    if (*r->at == 'Z') { /* with a letter a complex number, alone the address of a wide string */
        if (!r->at[1] || !strchr("efdg", r->at[1]))
            return KP_ADDRESSES;
        *size = 2 * size_of(r->at[1], r->standard);
        r->at += 2;
        return KP_HARMLESS;
    }
    *size = *r->at ? size_of(*r->at, r->standard) : 0;
    if (!*size)
        return KP_UNKNOWN;
    r->at++;
    return KP_HARMLESS;
}

/* Add up the fields until the end, or the brace that closes them. */
static kp_content read_fields(reader *r, int depth, int64_t *size) {
    *size = 0;
    while (*r->at && *r->at != '}') {
        kp_content content;
        int64_t times, one = 0;
        if (read_order(r))
            continue;
        if (*r->at == ' ') {
            r->at++;
            continue;
        }
        times = count(r);
        while (times >= 0 && read_order(r)) /* ctypes: "(3)<i" */
            ;
        content = read_type(r, depth, &one);
        if (content != KP_HARMLESS)
            return content;
        if (times < 0 || !skip_name(r) || (one && times > (MAX_ITEM_BYTES - *size) / one))
            return KP_UNKNOWN;
        *size += times * one;
    }
    return KP_HARMLESS;
}

kp_content kp_format_content(const char *format, int64_t itemsize) {
    reader r = {format ? format : "B", 0};
    int64_t size;
    kp_content content = read_fields(&r, 0, &size);
    if (content == KP_HARMLESS && (*r.at || size != itemsize))
        return KP_UNKNOWN;
    return content;
}
