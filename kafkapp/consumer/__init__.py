"""The consumer: reads records from partitions that it is assigned, as columns or one by one."""
