/* Whether text is UTF-8. */
#ifndef KAFKAPP_UTF8_H
#define KAFKAPP_UTF8_H

#include <stddef.h>

/* How many bytes at its beginning are whole characters: all of them, if it is UTF-8. */
static inline size_t kp_utf8_prefix(const void *text, size_t size) {
    const unsigned char *bytes = text;
    size_t i = 0, whole = 0;
    for (; i < size; whole = i) {
        unsigned char c = bytes[i++];
        int more = (c >= 0xC2) + (c >= 0xE0) + (c >= 0xF0); /* bytes of this character that follow */
        unsigned char low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80, high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
        if (c >= 0x80 && (!more || c > 0xF4))
            return whole;
        for (; more; more--, i++) {
            if (i == size || bytes[i] < low || bytes[i] > high)
                return whole;
            low = 0x80;
            high = 0xBF;
        }
    }
    return whole;
}

#endif
