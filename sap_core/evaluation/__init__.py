"""Quality and cost of models: likelihood, tasks, generation, speed, memory."""
