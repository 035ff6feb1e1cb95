"""Long work in a worker process: queue, progress, cancel, models kept warm."""
