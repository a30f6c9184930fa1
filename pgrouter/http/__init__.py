"""The HTTP port, off the data path: health checks, metrics, the cluster as JSON, and a page."""
