"""Sockets: one epoll set in which the event loop waits; dialled and accepted, with backpressure. Knows bytes only."""
