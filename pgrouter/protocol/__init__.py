"""PostgreSQL's frontend/backend protocol, version 3: codes, frames, messages, outstanding answers. No IO.

Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol".
"""
