/* Fault signals: unblocks SIGSEGV, SIGBUS, SIGFPE and SIGILL in librdkafka's threads, which block every signal.
 *
 * For a blocked signal that a bad memory access raises, the kernel kills the process without calling its handler
 * (faulthandler's; the command line's, for a mapped file that is truncated). */
#ifndef KAFKAPP_THREAD_SIGNALS_H
#define KAFKAPP_THREAD_SIGNALS_H

#include <librdkafka/rdkafka.h>
#include <signal.h>

static rd_kafka_resp_err_t kp_on_thread_start(rd_kafka_t *rk, rd_kafka_thread_type_t type, const char *name, void *opaque) {
    sigset_t faults;
    (void)rk, (void)type, (void)name, (void)opaque;
    sigemptyset(&faults);
    sigaddset(&faults, SIGBUS);
    sigaddset(&faults, SIGFPE);
    sigaddset(&faults, SIGILL);
    sigaddset(&faults, SIGSEGV);
    pthread_sigmask(SIG_UNBLOCK, &faults, NULL);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t kp_on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque, char *errstr, size_t size) {
    (void)conf, (void)opaque, (void)errstr, (void)size;
    return rd_kafka_interceptor_add_on_thread_start(rk, "kafkapp", kp_on_thread_start, NULL);
}

/* Install it in a configuration. Does nothing before 2.13, where librdkafka frees an interceptor twice when
 * rd_kafka_new() fails. Later releases leak its list then: too much for a library, so only the command line uses it. */
static inline void kp_unblock_fault_signals(rd_kafka_conf_t *conf) {
    if (rd_kafka_version() >= 0x020d00ff)
        rd_kafka_conf_interceptor_add_on_new(conf, "kafkapp", kp_on_new, NULL);
}

#endif
