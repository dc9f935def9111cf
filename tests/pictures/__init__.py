"""The README's pictures, made by `python -m tests.pictures`: what a browser shows of the demo at one fixed time."""
