/* See lines.h. */
#define _GNU_SOURCE /* memmem */
#include "lines.h"

#include <string.h>

static inline const char *find(const char *start, const char *end, const char *what, size_t size) {
    if (size == 1)
        return memchr(start, *what, (size_t)(end - start));
    return memmem(start, (size_t)(end - start), what, size);
}

int64_t kp_count(const kp_text *text, int64_t most) {
    const char *at = text->data;
    int64_t n = 0;
    while (n < most && at < text->end) {
        const char *stop = find(at, text->end, text->delimiter, text->delimiter_size);
        if (!stop)
            return n + (text->final != 0);
        n++;
        at = stop + text->delimiter_size;
    }
    return n;
}

int64_t kp_cut(kp_text *text, kp_span *values, kp_span *keys, int64_t most) {
    const char *at = text->data;
    int64_t n;
    for (n = 0; n < most && at < text->end; n++) {
        const char *stop = find(at, text->end, text->delimiter, text->delimiter_size);
        const char *following = stop ? stop + text->delimiter_size : text->end;
        if (!stop) {
            if (!text->final)
                break;
            stop = text->end;
        }
        if (keys) {
            const char *split = find(at, stop, text->key_delimiter, text->key_delimiter_size);
            keys[n].data = split && !(text->null_empty && split == at) ? at : NULL;
            keys[n].size = keys[n].data ? split - at : 0;
            if (split)
                at = split + text->key_delimiter_size;
        }
        values[n].data = text->null_empty && at == stop ? NULL : at;
        values[n].size = stop - at;
        at = following;
    }
    text->data = at;
    return n;
}
