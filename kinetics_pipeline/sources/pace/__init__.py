"""When to ask again, and whose fault a failure is. Pure functions: a driver that is started again decides alike.

`retries.py`: from everything tried for a clip to what is done next. `egress.py`: when a way out may be used again.
`breaker.py`: whether failures are the videos' or the address's, by asking a good video again (the canary).
"""
