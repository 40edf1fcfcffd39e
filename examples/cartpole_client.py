"""CartPole in another process, driven from this one.

``rlay.spawn`` starts the process and ends it with the environment. The environment
may as well be started by hand, in any terminal, before or after this program::

    rlay serve CartPole-v1 --name cartpole
    python examples/cartpole_client.py --name cartpole
"""

import argparse
import time

import gymnasium

import rlay


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
    """Compare an episode in the other process with one here, then count steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", help="of a channel that is served already")
    parser.add_argument("--steps", type=int, default=20_000)
    arguments = parser.parse_args()

    if arguments.name:
        env = rlay.ClientEnv(arguments.name)
    else:
        env = rlay.spawn("CartPole-v1")
    print(f"{env}: {env.remote_spec.id}")

    there = episode(env, seed=1)
    here = episode(gymnasium.make("CartPole-v1"), seed=1)
    print(f"an episode of {len(there) - 1} steps")
    print(f"the same episode in this process is equal: {there == here}")

    steps, start = 0, time.perf_counter()
    while steps < arguments.steps:
        steps += len(episode(env, seed=steps)) - 1
    rate = steps / (time.perf_counter() - start)
    print(f"{steps} steps, {rate:,.0f} steps per second")
    env.close()


if __name__ == "__main__":
    main()
