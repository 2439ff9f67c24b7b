"""The producers: records, the send path, delivery reports, batches, transactions."""
