"""CartPole in another process, which drives itself and asks for decisions.

This process is the trainer: it makes a ``ServerEnv``. It starts this file a second
time as the game: ``ClientBackend(env).run()`` is the loop of a game that has no loop
of its own.
"""

import argparse
import subprocess
import sys
import time

import gymnasium

import rlay

NAME = "cartpole-game"


def play():
    """Be the game: ask for decisions until the first trainer has left."""
    env = gymnasium.make("CartPole-v1")
    rlay.ClientBackend(env, name=NAME).run(sessions=1)


def episode(env, seed):
    """Play one episode with a simple rule; return all observations and rewards."""
    observation, _ = env.reset(seed=seed)
    history = [observation.tolist()]
    while True:
        push_right = observation[2] + observation[3] > 0  # the pole falls to the right
        observation, reward, terminated, truncated, _ = env.step(int(push_right))
        history.append([*observation.tolist(), reward])
        if terminated or truncated:
            return history


def main():
    """Compare an episode in the game's process with one here, then count steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("mode", nargs="?", choices=["train", "play"], default="train")
    parser.add_argument("--steps", type=int, default=20_000)
    arguments = parser.parse_args()
    if arguments.mode == "play":
        play()
        return

    game = subprocess.Popen([sys.executable, __file__, "play"])
    try:
        env = rlay.ServerEnv(NAME)  # the game may start before or after this line
        there = episode(env, seed=1)
        here = episode(gymnasium.make("CartPole-v1"), seed=1)
        print(f"{env}: an episode of {len(there) - 1} steps")
        print(f"the same episode in this process is equal: {there == here}")

        steps, start = 0, time.perf_counter()
        while steps < arguments.steps:
            steps += len(episode(env, seed=steps)) - 1
        rate = steps / (time.perf_counter() - start)
        print(f"{steps} steps, {rate:,.0f} steps per second")
        env.close()
        print(f"the game ended with exit code {game.wait(30)}")
    finally:
        game.kill()


if __name__ == "__main__":
    main()
