"""The demo upstream: a small chat-completions server in vLLM's dialect that `serve --demo` starts.

It is rule-based and deterministic; it is not a language model, and it imports neither Django nor
the gateway. `rules` says what it answers, `server` how; run it with `python -m`.
"""
