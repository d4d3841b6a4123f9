"""The only code that talks to vLLM."""
