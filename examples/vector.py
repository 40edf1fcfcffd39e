"""Eight CartPoles on one channel: one message carries the whole batch.

This process steps them as a ``gymnasium.vector.VectorEnv``. It starts this file a
second time as the process that holds them; ``rlay serve CartPole-v1 --name cartpoles
--num-envs 8`` in another terminal would do the same.
"""

import argparse
import subprocess
import sys
import time

import numpy as np

import rlay

NAME = "cartpoles"
NUM_ENVS = 8


def serve():
    """Hold the environments until the first client has left."""
    rlay.ServerBackend("CartPole-v1", name=NAME, num_envs=NUM_ENVS).run(sessions=1)


def main():
    """Step the batch with a simple rule, and count steps and episodes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", nargs="?", choices=["train", "serve"], default="train")
    parser.add_argument("--steps", type=int, default=40_000, help="in all environments")
    arguments = parser.parse_args()
    if arguments.mode == "serve":
        serve()
        return

    backend = subprocess.Popen([sys.executable, __file__, "serve"])
    try:
        envs = rlay.ClientVectorEnv(NAME, num_envs=NUM_ENVS)
        print(envs)
        observations, _ = envs.reset(seed=0)
        print(f"observations: {observations.dtype} {observations.shape}")
        episodes, start = 0, time.perf_counter()
        for _ in range(arguments.steps // NUM_ENVS):
            actions = (observations[:, 2] + observations[:, 3] > 0).astype(np.int64)
            observations, _, terminations, truncations, _ = envs.step(actions)
            episodes += int(np.count_nonzero(terminations | truncations))
        rate = arguments.steps / (time.perf_counter() - start)
        print(f"{arguments.steps} steps, {episodes} episodes, {rate:,.0f} steps/s")
        envs.close()
        print(f"the other process ended with exit code {backend.wait(30)}")
    finally:
        backend.kill()


if __name__ == "__main__":
    main()
