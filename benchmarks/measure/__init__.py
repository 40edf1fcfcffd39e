"""What the benchmark scripts share: contenders, rounds, machine, tables.

A *contender* is one way to reach an environment: in this process, over RLay, over a
peer such as ``AsyncVectorEnv``, or the C floor. A *run* measures one contender in a
fresh pair of processes. A *sweep* shuffles all runs of all rounds, so that a slow
phase of the machine hits every contender alike.
"""
