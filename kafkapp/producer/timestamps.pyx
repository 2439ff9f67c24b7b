"""Timestamps: of all records of a batch, or of each: milliseconds in a buffer, or NumPy's and Arrow's, converted.

Knows numbers and Arrow, no client.
"""
cimport cython
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from kafkapp.common.buffers cimport kp_release_buffer
from kafkapp.common.numbers cimport checked_timestamp
from kafkapp.producer.arrow cimport ArrowColumn, ArrowSchema, format_of, is_arrow, malformed
from kafkapp.producer.columns cimport (
    KP_FIXED, KP_NULLS, get_numbers, is_per_record, kp_arrow_column, kp_column, numpy_kind)


cdef extern from "batch.h" nogil:
    int64_t kp_int64_at(const void *numbers, int64_t i)

cdef extern from "timestamps.h" nogil:
    int64_t kp_to_ms(const kp_column *numbers, int64_t count, int64_t per_second, bint not_a_time, int64_t *ms)

cdef dict PER_SECOND = {"s": 1, "m": 1000, "u": 10**6, "n": 10**9}    # by the first letter of the unit


@cython.final
@cython.no_gc_clear     # as ArrowColumn
cdef class Timestamps(ArrowColumn):
    """The timestamps of a batch's records, in milliseconds."""

    def __dealloc__(self):
        self.release()

    cdef int release(self) except -1:
        free(self.converted)
        self.converted, self.each = NULL, NULL
        kp_release_buffer(&self.view)
        return ArrowColumn.release(self)

    cdef int convert(self, const kp_column *numbers, int64_t count, int64_t per_second, bint not_a_time,
                     str what) except -1:
        cdef int64_t bad, number
        cdef int64_t *converted
        self.set_count(count, what)
        self.each = self.converted = converted = <int64_t *>malloc(max(1, count) * sizeof(int64_t))
        if converted is NULL:
            raise MemoryError()
        with nogil:
            bad = kp_to_ms(numbers, count, per_second, not_a_time, converted)
        if bad < 0:
            return 0
        number = kp_int64_at(numbers.data, bad)
        if number > 0 and per_second == 1:
            raise ValueError(f"{what}[{self.first + bad}]: {number} seconds are more than {INT64_MAX} milliseconds")
        raise not_positive(what, self.first + bad, (<object>number) * 1000 // per_second)

    cdef int from_buffer(self, object given, str what) except -1:
        cdef int64_t i
        get_numbers(&self.view, given, what, 8)
        self.each = <const int64_t *>self.view.buf
        self.set_count(self.view.len // 8, what)
        for i in range(self.count):
            if kp_int64_at(self.each, i) <= 0:
                raise not_positive(what, i, kp_int64_at(self.each, i))
        return 0

    cdef int from_numpy(self, object given, str what) except -1:
        """NumPy exports no buffer of its datetime64: it is viewed as int64."""
        cdef kp_column numbers
        cdef Py_buffer view
        import re       # imported on demand: it is slow to import
        form = str(given.dtype.str)
        unit = re.fullmatch(r"([<>=|])M8\[(s|ms|us|ns)\]", form)
        if unit is None:
            raise TypeError(f"{what} must be datetime64 of s, ms, us or ns, not {form}: "
                            f".astype('datetime64[ms]') makes milliseconds")
        numbers_given = given.view(f"{unit[1]}i8")
        if hasattr(given, "filled"):    # what is masked is null, as NaT is
            numbers_given = numbers_given.filled(INT64_MIN)
        get_numbers(&view, numbers_given, what, 8)
        numbers.kind, numbers.valid, numbers.data = KP_FIXED, NULL, <const char *>view.buf
        try:
            return self.convert(&numbers, view.len // 8, PER_SECOND[unit[2][0]], True, what)
        finally:
            kp_release_buffer(&view)

    cdef int check_schema(self, const ArrowSchema *schema, str what) except -1:
        form = format_of(schema)
        if schema.dictionary is NULL and (form in ("l", "n") or form.startswith(("tss:", "tsm:", "tsu:", "tsn:"))):
            return 0
        cure = "cast it first: a date has no time of day" if form.startswith("td") else "cast it first"
        raise TypeError(f"{what} must be an Arrow array of timestamps, or of int64 milliseconds, not of format "
                        f"{form!r}: {cure}")

    cdef int take(self, const ArrowSchema *schema, str what) except -1:
        cdef kp_column numbers
        cdef const char *problem
        form = format_of(schema)
        numbers.kind, numbers.valid, numbers.width = KP_NULLS if form == "n" else KP_FIXED, NULL, 8
        self.set_count(max(0, self.arrow.length), what)
        problem = kp_arrow_column(&numbers, &self.arrow)
        if problem is not NULL:
            raise malformed(what, problem)
        self.convert(&numbers, self.arrow.length, PER_SECOND[form[2]] if form[:2] == "ts" else 1000, False, what)
        return ArrowColumn.release(self)        # they are copied

    cdef int join(self, list chunks, str what) except -1:
        cdef Timestamps chunk
        self.set_count(sum([(<ArrowColumn>one).count for one in chunks]), what)
        self.each = self.converted = <int64_t *>malloc(max(1, self.count) * sizeof(int64_t))
        if self.converted is NULL:
            raise MemoryError()
        for chunk in chunks:
            memcpy(self.converted + chunk.first, chunk.converted, chunk.count * sizeof(int64_t))
        return 0


cdef object not_positive(str what, int64_t i, object ms):
    return ValueError(f"{what}[{i}] must be more than 0 milliseconds, not {ms}")


cdef Timestamps new_timestamps(object given, int64_t count):
    cdef Timestamps timestamps = Timestamps.__new__(Timestamps)
    if is_arrow(given):
        timestamps.read(given, "timestamps")
    elif numpy_kind(given) == "M" and getattr(given, "ndim", 0):
        timestamps.from_numpy(given, "timestamps")
    elif is_per_record(given):
        timestamps.from_buffer(given, "timestamps")
    else:
        timestamps.one = checked_timestamp(given)
        return timestamps
    if timestamps.count != count:
        raise ValueError(f"timestamps: {timestamps.count} entries for {count} values")
    return timestamps
