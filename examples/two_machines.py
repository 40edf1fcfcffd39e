"""CartPole on one machine, the algorithm on another one.

Both programs say what they would say on one machine: ``rlay.ServerBackend`` here,
``rlay.ClientEnv`` there, and the name of a channel. Only the bridges know that there
are two machines. Once, on the machine with the simulator::

    rlay token new
    rlay cert new --host simulator.example

Copy rlay.token and rlay.crt, not rlay.key, to the other machine. Then, in any order::

    # on simulator.example
    rlay bridge --listen 0.0.0.0:7450 --token-file rlay.token \
        --tls-cert rlay.crt --tls-key rlay.key
    python examples/two_machines.py simulator

    # on the machine with the algorithm
    rlay bridge --connect simulator.example:7450 --token-file rlay.token \
        --tls-ca rlay.crt
    python examples/two_machines.py trainer

On one machine, without bridges, the last line of each works too.
"""

import argparse
import time

import gymnasium

import rlay

CHANNEL = "cartpole"


def simulator(sessions):
    """Serve CartPole to so many trainers, one after the other."""
    print(f"simulator: waiting on channel {CHANNEL!r}", flush=True)
    rlay.ServerBackend("CartPole-v1", name=CHANNEL).run(sessions=sessions)
    print("simulator: done")


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


def trainer(steps):
    """Compare an episode over there with one here, then count steps."""
    env = rlay.ClientEnv(CHANNEL)  # waits for the channel, up to 60 s
    there = episode(env, seed=1)
    here = episode(gymnasium.make("CartPole-v1"), seed=1)
    print(f"trainer: an episode of {len(there) - 1} steps")
    print(f"trainer: the same episode in this process is equal: {there == here}")

    done, seed, start = 0, 2, time.perf_counter()
    while done < steps:
        try:
            done += len(episode(env, seed)) - 1
        except rlay.PeerLost as error:  # the simulator, its machine or the network
            print(f"trainer: {error}")  # the next reset waits for a new one
        seed += 1
    rate = done / (time.perf_counter() - start)
    print(f"trainer: {done} steps, {rate:,.0f} steps per second")
    env.close()


def main():
    """Be one of the two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("role", choices=["simulator", "trainer"])
    parser.add_argument("--steps", type=int, default=20_000, help="of the trainer")
    parser.add_argument("--sessions", type=int, help="of the simulator; default: any")
    arguments = parser.parse_args()
    if arguments.role == "simulator":
        simulator(arguments.sessions)
    else:
        trainer(arguments.steps)


if __name__ == "__main__":
    main()
