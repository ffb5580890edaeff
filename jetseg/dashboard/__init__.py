"""A page that shows a run while it goes on, and Prometheus metrics, served from the process."""
