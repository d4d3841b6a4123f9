"""Hard knocks: a load with hosted tools while programs are killed and services go away, and a soak.

Run as ``python -m bench.knocks``. Every answer is counted by what its client saw of it, and in the
end what clients were told is compared with the database. docs/reliability.md has the results.
"""
