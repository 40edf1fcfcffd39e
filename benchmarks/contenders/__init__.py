"""One program for each way to reach an environment, run by :mod:`measure.standing`.

``installed`` has what the interpreter of the benchmark itself can import: RLay, what
Gymnasium brings, and raw sockets. Each of the others is run with the interpreter of the
virtual environment of its package.
"""
