/* Timestamps of many records: converted to milliseconds. See timestamps.h. */
#include "timestamps.h"

int64_t kp_to_ms(const kp_column *numbers, int64_t count, int64_t per_second, int not_a_time, int64_t *ms) {
    int64_t divisor = per_second < 1000 ? 1 : per_second / 1000, factor = per_second < 1000 ? 1000 / per_second : 1, i;
    for (i = 0; i < count; i++) {
        int64_t number;
        ms[i] = 0;
        if (numbers->kind == KP_NULLS || kp_is_null(numbers, i))
            continue;
        number = kp_int64_at(numbers->data, i);
        if (not_a_time && number == INT64_MIN)
            continue;
        if (number / divisor <= 0 || number > INT64_MAX / factor)
            return i;
        ms[i] = number / divisor * factor;
    }
    return -1;
}
