"""Measures the gateway beside its floor: the same load sent straight to the scripted upstream.

Run as ``python -m bench``; docs/performance.md says how to read what it prints.
"""
