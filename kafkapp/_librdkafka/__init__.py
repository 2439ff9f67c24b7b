"""Declarations of librdkafka's C API. No code, and nothing of kafkapp's."""
