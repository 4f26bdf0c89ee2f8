"""What runs in which order, as Prefect flows. What is done stands in tasks/."""
