/* Locale guard: the calling thread reads and prints numbers as in the C locale between these two calls.
 *
 * librdkafka uses strtod() and printf(): in a process with a locale that writes 0,5 it reads 0.5 as 0, and its
 * unsecured tokens are no JSON. No other thread is affected. No code between the calls may call into Python. */
#ifndef KAFKAPP_NUMBERS_H
#define KAFKAPP_NUMBERS_H

#include <locale.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

/* Returns what kp_c_numbers_end() takes. Without memory for a locale it changes nothing. */
static inline locale_t kp_c_numbers_begin(void) {
    locale_t plain = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    return plain ? uselocale(plain) : (locale_t)0;
}

static inline void kp_c_numbers_end(locale_t before) {
    if (before)
        freelocale(uselocale(before));
}

#endif
