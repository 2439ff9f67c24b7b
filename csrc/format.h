/* What a buffer's format says of its items: whether they are bytes, or addresses of this process. Knows no Python. */
#ifndef KAFKAPP_FORMAT_H
#define KAFKAPP_FORMAT_H

#include <stdint.h>

typedef enum {
    KP_HARMLESS,  /* numbers and characters, which mean the same elsewhere */
    KP_ADDRESSES, /* of objects, strings, functions */
    KP_UNTOLD,    /* the format does not account for each of the item's bytes, or is none that we can read */
} kp_content;

/* `format`: as PEP 3118 has it, NULL is "B"; `itemsize`: of what it describes. */
kp_content kp_format_content(const char *format, int64_t itemsize);

#endif
