"""Decides what happens next. It awaits, but speaks neither HTTP nor SQL."""
