"""What knows no client: errors, keys and values, times and timeouts, metadata, threads, forks."""
