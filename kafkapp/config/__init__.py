"""Configuration: properties, their names, what is secret in them, and how they reach an rd_kafka_conf_t."""
