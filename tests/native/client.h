/* A client of librdkafka, for the programs of this folder. */
#include <stdio.h>
#include <stdlib.h>

#include <librdkafka/rdkafka.h>

static const char *const NO_SETTINGS[][2] __attribute__((unused)) = {{NULL, NULL}};

/* With these settings, up to {NULL, NULL}, and no others but those of `conf`, which becomes the client's. Ends the process
 * where it cannot be made. */
static rd_kafka_t *new_client(rd_kafka_type_t type, rd_kafka_conf_t *conf, const char *const (*settings)[2]) {
    rd_kafka_t *rk;
    char text[256] = "";
    for (; (*settings)[0]; settings++)
        if (rd_kafka_conf_set(conf, (*settings)[0], (*settings)[1], text, sizeof(text)))
            break;
    rk = (*settings)[0] ? NULL : rd_kafka_new(type, conf, text, sizeof(text));
    if (!rk) {
        fprintf(stderr, "%s\n", text);
        exit(2);
    }
    return rk;
}
