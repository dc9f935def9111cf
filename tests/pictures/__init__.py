"""The README's pictures: screenshots of the demo at a fixed time, made by `python -m tests.pictures`."""
