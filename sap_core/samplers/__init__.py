"""Denoising rules, schedules and the autoregressive loop; each yields its steps."""
