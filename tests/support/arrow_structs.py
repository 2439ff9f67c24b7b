"""Faulty Arrow arrays for tests: both C structs built by hand through ctypes, each field settable.

Knows nothing of kafkapp. How often an array is released is counted, and what it holds is freed by that.
"""
import ctypes

INT64 = ctypes.c_int64


class Schema(ctypes.Structure):
    pass


class Array(ctypes.Structure):
    pass


RELEASE_SCHEMA = ctypes.CFUNCTYPE(None, ctypes.POINTER(Schema))
RELEASE_ARRAY = ctypes.CFUNCTYPE(None, ctypes.POINTER(Array))
Schema._fields_ = [("format", ctypes.c_char_p), ("name", ctypes.c_char_p), ("metadata", ctypes.c_char_p), ("flags", INT64),
                   ("n_children", INT64), ("children", ctypes.c_void_p), ("dictionary", ctypes.c_void_p),
                   ("release", RELEASE_SCHEMA), ("private_data", ctypes.c_void_p)]
Array._fields_ = [("length", INT64), ("null_count", INT64), ("offset", INT64), ("n_buffers", INT64), ("n_children", INT64),
                  ("buffers", ctypes.POINTER(ctypes.c_void_p)), ("children", ctypes.c_void_p), ("dictionary", ctypes.c_void_p),
                  ("release", RELEASE_ARRAY), ("private_data", ctypes.c_void_p)]

new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype, new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
NAMES = b"arrow_schema", b"arrow_array"


class Exporter:
    """An object with `__arrow_c_array__` of three binary values, whose structs can be changed before they are taken."""

    def __init__(self, format=b"z", buffers=(None, (0, 1, 3, 6), b"abbccc"), length=3, offset_type=ctypes.c_int32, names=NAMES):
        self.released = 0
        self.names = names
        self.memory = [None if part is None else (offset_type * len(part))(*part) if isinstance(part, tuple)
                       else ctypes.create_string_buffer(part, max(len(part), 1)) for part in buffers]
        pointers = (ctypes.c_void_p * max(len(buffers), 1))(*(part and ctypes.addressof(part) for part in self.memory))
        self.schema = Schema(format=format, release=RELEASE_SCHEMA(self.release_schema))
        self.array = Array(length=length, n_buffers=len(buffers), buffers=pointers, release=RELEASE_ARRAY(self.release_array))

    def release_schema(self, schema):
        schema[0].release = RELEASE_SCHEMA()

    def release_array(self, array):
        self.released += 1
        array[0].release = RELEASE_ARRAY()

    def __arrow_c_array__(self, requested_schema=None):
        # The capsules have no destructor: the structs are this object's.
        return tuple(new_capsule(ctypes.addressof(struct), name, None)
                     for struct, name in zip((self.schema, self.array), self.names, strict=True))


def with_children(exporter, *children):
    """Make the structs of some Exporters the children of another one's."""
    exporter.parts, exporter.pointers = children, {}
    for kind in ("schema", "array"):
        struct = getattr(exporter, kind)
        exporter.pointers[kind] = pointers = (ctypes.c_void_p * len(children))(*(ctypes.addressof(getattr(child, kind)) for child in children))
        struct.children, struct.n_children = ctypes.addressof(pointers), len(children)
    return exporter


class Stream(ctypes.Structure):
    pass


GET_SCHEMA = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Stream), ctypes.POINTER(Schema))
GET_NEXT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Stream), ctypes.POINTER(Array))
GET_LAST_ERROR = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(Stream))
RELEASE_STREAM = ctypes.CFUNCTYPE(None, ctypes.POINTER(Stream))
Stream._fields_ = [("get_schema", GET_SCHEMA), ("get_next", GET_NEXT), ("get_last_error", GET_LAST_ERROR), ("release", RELEASE_STREAM),
                   ("private_data", ctypes.c_void_p)]


class StreamExporter:
    """An object with `__arrow_c_stream__` of the arrays of some Exporters, which fails where a test wants it to."""

    def __init__(self, *chunks, schema_error=0, error_at=None, text=b"the source is gone", name=b"arrow_array_stream"):
        self.chunks, self.schema_error, self.error_at, self.name = chunks, schema_error, error_at, name
        self.text = None if text is None else ctypes.create_string_buffer(text)
        self.released = self.position = 0
        self.stream = Stream(get_schema=GET_SCHEMA(self.get_schema), get_next=GET_NEXT(self.get_next), release=RELEASE_STREAM(self.release),
                             get_last_error=GET_LAST_ERROR(lambda stream: self.text and ctypes.addressof(self.text)))

    def get_schema(self, stream, schema):
        if not self.schema_error:
            schema[0] = self.chunks[0].schema
        return self.schema_error

    def get_next(self, stream, array):
        if self.position == self.error_at:
            return 5
        array[0].release = RELEASE_ARRAY()
        if self.position < len(self.chunks):
            array[0] = self.chunks[self.position].array
        self.position += 1
        return 0

    def release(self, stream):
        self.released += 1
        stream[0].release = RELEASE_STREAM()

    def __arrow_c_stream__(self, requested_schema=None):
        return new_capsule(ctypes.addressof(self.stream), self.name, None)
