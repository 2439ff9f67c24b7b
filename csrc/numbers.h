/* librdkafka reads and prints numbers with a fraction by strtod() and printf(): in a process that has called setlocale()
 * for a place that writes 0,5, it takes 0.5 for 0, and its own unsecured tokens are no JSON. Between these two calls the
 * calling thread, and no other, has C's way. Nothing that may call back into Python stands between them. */
#ifndef KAFKAPP_NUMBERS_H
#define KAFKAPP_NUMBERS_H

#include <locale.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

/* Gives what kp_c_numbers_end() takes; without memory for a locale everything stays as it is. */
static inline locale_t kp_c_numbers_begin(void) {
    locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    return plain ? uselocale(plain) : (locale_t)0;
}

static inline void kp_c_numbers_end(locale_t own) {
    if (own)
        freelocale(uselocale(own));
}

#endif
