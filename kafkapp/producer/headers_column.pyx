"""Headers of a batch: of all records, a list with those of each, or Arrow's maps and lists of pairs.

Knows librdkafka's headers and Arrow, no client.
"""
cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from kafkapp._librdkafka.rdkafka cimport rd_kafka_headers_destroy, rd_kafka_headers_t
from kafkapp.common.headers cimport new_headers
from kafkapp.producer.arrow cimport ArrowArray, ArrowColumn, ArrowSchema, check_format, format_of, is_arrow, malformed
from kafkapp.producer.columns cimport Column, place_error

from kafkapp.common.headers import Header


cdef extern from "headers.h" nogil:
    const char *kp_headers_check(const kp_headers *headers, int64_t count, int64_t *bad)

cdef extern from "arrow.h" nogil:
    const char *kp_arrow_entries(const ArrowArray *array, bint large, kp_range *ranges, ArrowArray *first,
                                 ArrowArray *second, int64_t *bad)

cdef tuple PARTS = ("a header", "the value of header")     # how errors about the headers of a record begin


@cython.final
@cython.no_gc_clear     # as ArrowColumn
cdef class HeadersColumn(ArrowColumn):
    """The headers of a batch's records; holds their memory until the records are enqueued."""

    def __dealloc__(self):
        self.release()

    cdef int release(self) except -1:
        cdef int64_t i
        if self.c.all is not NULL:
            rd_kafka_headers_destroy(self.c.all)
        if self.c.rows is not NULL:
            for i in range(self.count):
                if self.c.rows[i] is not NULL:
                    rd_kafka_headers_destroy(self.c.rows[i])
            free(self.c.rows)
        free(self.ranges)
        self.c.all, self.c.rows, self.c.ranges, self.ranges = NULL, NULL, NULL, NULL
        return ArrowColumn.release(self)

    cdef kp_headers *pointer(self) noexcept:
        return NULL if self.c.all is NULL and self.c.rows is NULL and self.c.ranges is NULL else &self.c

    cdef int from_rows(self, tuple rows, str what) except -1:
        cdef int64_t i
        self.set_count(len(rows), what)
        self.c.rows = <rd_kafka_headers_t **>calloc(max(1, self.count), sizeof(rd_kafka_headers_t *))
        if self.c.rows is NULL:
            raise MemoryError()
        for i in range(self.count):
            try:
                self.c.rows[i] = new_headers(rows[i])
            except (TypeError, ValueError, BufferError) as exc:
                place_error(exc, what, i, PARTS)
                raise
            if not i & 4095:
                PyErr_CheckSignals()
        return 0

    cdef int allocate_ranges(self) except -1:
        self.c.ranges = self.ranges = <kp_range *>calloc(max(1, self.count), sizeof(kp_range))
        if self.ranges is NULL:
            raise MemoryError()
        return 0

    cdef int check_schema(self, const ArrowSchema *schema, str what) except -1:
        cdef const ArrowSchema *pair
        cdef Column part = Column.__new__(Column)
        form = format_of(schema)
        if form == "n" and schema.dictionary is NULL:
            return 0
        if schema.dictionary is NULL and form in ("+m", "+l", "+L") and is_parent(schema, 1, what):
            pair = schema.children[0]
            if format_of(pair) == "+s" and pair.dictionary is NULL and is_parent(pair, 2, what) and (
                    form == "+m" or {name_of(pair.children[0]), name_of(pair.children[1])} == {"key", "value"}):
                part.check_schema(pair.children[0], f"{what}.{name_of(pair.children[0])}")
                part.check_schema(pair.children[1], f"{what}.{name_of(pair.children[1])}")
                return 0
        raise TypeError(f"{what} must be an Arrow array of maps, or of lists of structs with the fields key and value, "
                        f"not of format {form!r}; of a column of Python objects .to_list() makes a list")

    cdef int take(self, const ArrowSchema *schema, str what) except -1:
        cdef const ArrowSchema *pair
        cdef Column first = Column.__new__(Column), second = Column.__new__(Column)     # own none of the memory
        cdef const char *problem
        cdef bint large = format_of(schema) == "+L"
        cdef int64_t bad = -1
        self.set_count(max(0, self.arrow.length), what)
        self.allocate_ranges()
        if format_of(schema) == "n":
            return self.set_columns(first, second)
        pair = schema.children[0]
        with nogil:
            problem = kp_arrow_entries(&self.arrow, large, self.ranges, &first.arrow, &second.arrow, &bad)
        if problem is not NULL and bad >= 0:
            raise ValueError(f"{what}[{self.first + bad}]: {problem.decode()}")
        if problem is not NULL:
            raise malformed(what, problem)
        if first.arrow.length:
            first.take(pair.children[0], f"{what}.{name_of(pair.children[0])}")
            second.take(pair.children[1], f"{what}.{name_of(pair.children[1])}")
        if format_of(schema) != "+m" and name_of(pair.children[0]) == "value":
            first, second = second, first
        return self.set_columns(first, second)

    cdef int set_columns(self, Column names, Column values) except -1:
        self.names, self.values = names, values
        self.c.names, self.c.values = names.c, values.c
        return 0

    cdef int join(self, list chunks, str what) except -1:
        cdef HeadersColumn chunk
        cdef Column names = Column.__new__(Column), values = Column.__new__(Column)
        cdef int64_t i, before = 0
        self.set_count(sum([(<ArrowColumn>one).count for one in chunks]), what)
        self.allocate_ranges()
        for chunk in chunks:
            for i in range(chunk.count):
                self.ranges[chunk.first + i] = kp_range(chunk.ranges[i].start + before, chunk.ranges[i].end + before)
            before += chunk.names.count
        names.join([(<HeadersColumn>one).names for one in chunks], what)
        values.join([(<HeadersColumn>one).values for one in chunks], what)
        self.held = tuple(chunks)
        return self.set_columns(names, values)


cdef bint is_parent(const ArrowSchema *schema, int64_t children, str what) except -1:
    """Whether it has so many children; each of them has a format."""
    cdef int64_t i
    if schema.n_children != children:
        return False
    for i in range(children):
        if schema.children is NULL or schema.children[i] is NULL:
            raise ValueError(f"{what}: a malformed Arrow schema: a child is missing")
        check_format(schema.children[i], what)
    return True


cdef str name_of(const ArrowSchema *schema):
    return "" if schema.name is NULL else schema.name.decode("utf-8", "replace")


cdef bint is_of_rows(tuple headers) except -1:
    """Whether it has the headers of each record, which are None, a dict or a list, and not headers, which are pairs of
    a str and a value."""
    first = headers[0] if headers else 0
    if isinstance(first, (list, tuple)):
        first = tuple(first)
        return not first or isinstance(first[0], (Header, list, tuple))
    return first is None or isinstance(first, dict)


cdef HeadersColumn new_headers_column(object given, int64_t count):
    cdef HeadersColumn column = HeadersColumn.__new__(HeadersColumn)
    cdef const char *problem = NULL
    cdef int64_t bad = 0
    if is_arrow(given):
        column.read(given, "headers")
    else:
        if isinstance(given, (list, tuple)):
            given = tuple(given)
        if not isinstance(given, tuple) or not is_of_rows(given):
            column.c.all = new_headers(given)
            return column
        column.from_rows(given, "headers")
    if column.count != count:
        raise ValueError(f"headers: {column.count} entries for {count} values")
    if column.ranges is not NULL:
        with nogil:
            problem = kp_headers_check(&column.c, count, &bad)
    if problem is not NULL:
        raise ValueError(f"headers[{bad}]: {problem.decode()}")
    return column
