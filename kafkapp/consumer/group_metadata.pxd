# C interface of kafkapp.consumer.group_metadata.

from kafkapp.consumer.record_queue cimport RecordQueue

cdef object group_metadata(RecordQueue queue)
