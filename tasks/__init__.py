"""What lavaflow does: a room a stage, importable and runnable without Prefect, DVC or MLflow."""
