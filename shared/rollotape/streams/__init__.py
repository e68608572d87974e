"""From producers to committed batches: partitions, leases, delivery, trimming."""
