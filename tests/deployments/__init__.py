"""Commands of five real deployments, run with the router in the middle (`make deployments`; docs/deployments.md)."""
