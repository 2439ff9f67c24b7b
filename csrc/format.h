/* Buffer formats: whether a PEP 3118 format describes plain data or addresses of this process. Knows no Python. */
#ifndef KAFKAPP_FORMAT_H
#define KAFKAPP_FORMAT_H

#include <stdint.h>

typedef enum {
    KP_HARMLESS,  /* numbers and characters */
    KP_ADDRESSES, /* of objects, strings, functions */
    KP_UNKNOWN,    /* the format is unreadable, or does not describe every byte of the item */
} kp_content;

/* `format`: as of PEP 3118, NULL means "B"; `itemsize`: bytes of an item. */
kp_content kp_format_content(const char *format, int64_t itemsize);

#endif
