"""Long work in a worker process: queue, progress, cancelling, models kept in memory."""
