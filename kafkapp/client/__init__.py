"""What every rd_kafka_t needs: its handle, the dispatching of its events, calls that block, its end."""
