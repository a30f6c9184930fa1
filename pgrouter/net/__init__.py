"""Sockets: one epoll set pumped by the event loop, streams with backpressure. Knows bytes, not PostgreSQL."""
