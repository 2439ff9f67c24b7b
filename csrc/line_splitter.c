/* Line splitter: finds the records of a delimited text. See line_splitter.h. */
#define _GNU_SOURCE /* memmem */
#include "line_splitter.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static inline const char *find(const char *start, const char *end, const char *what, size_t size) {
    if (size == 1)
        return memchr(start, *what, (size_t)(end - start));
    return memmem(start, (size_t)(end - start), what, size);
}

int64_t kp_count_lines(const kp_text *text, int64_t max_lines) {
    const char *at = text->data;
    int64_t n = 0;
    while (n < max_lines && at < text->end) {
        const char *stop = find(at, text->end, text->delimiter, text->delimiter_size);
        if (!stop)
            return n + (text->final != 0);
        n++;
        at = stop + text->delimiter_size;
    }
    return n;
}

int64_t kp_split_lines(kp_text *text, kp_span *values, kp_span *keys, int64_t max_lines) {
    const char *at = text->data;
    int64_t n;
    for (n = 0; n < max_lines && at < text->end; n++) {
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

static const char *truncation_text;
static size_t truncation_text_size;
static int truncation_status;

static void exit_on_bus_error(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    if (info->si_code == BUS_ADRERR) { /* after any other the read is repeated, under the default handler */
        ssize_t written = write(STDERR_FILENO, truncation_text, truncation_text_size);
        (void)written;
        _exit(truncation_status);
    }
}

int kp_exit_when_truncated(const char *text, int status) {
    struct sigaction action = {.sa_sigaction = exit_on_bus_error, .sa_flags = SA_SIGINFO | SA_RESETHAND};
    truncation_text = text;
    truncation_text_size = strlen(text);
    truncation_status = status;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, NULL) ? errno : 0;
}
