"""Sockets: dialled, accepted, in one epoll set in which the event loop waits, with backpressure; bytes, not PostgreSQL."""
