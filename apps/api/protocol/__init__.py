"""The protocol, pure: what requests, items and events look like and in which order they come.

Standard library, pydantic and orjson only: no I/O, no clock, no Django. Deltas go into the
``ResponseComposer``, events come out.
"""
