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
